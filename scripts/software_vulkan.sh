#!/bin/sh
# Fetches a Vulkan driver in software (SwiftShader), so that the WebGPU device can be tested on a machine without
# a GPU. It needs a Debian with apt, no root rights, and touches nothing outside of the folder it is given:
#
#   env=$(scripts/software_vulkan.sh .cache/vulkan) && eval "$env" && GRAFT_TEST_DEVICES=webgpu npx vitest run test/runtime
#
# It prints the variables to export. When the driver cannot be had it says why on stderr and exits with 1: the
# caller decides whether to go on without it.
set -eu

say() { echo "software_vulkan: $*" >&2; }

[ $# -eq 1 ] || { say "usage: software_vulkan.sh FOLDER"; exit 2; }
mkdir -p "$1"
folder=$(cd "$1" && pwd)
library=libvk_swiftshader.so loader=libvulkan.so.1 manifest=vk_swiftshader_icd.json

if [ ! -s "$folder/$manifest" ]; then
  for tool in apt-get dpkg-deb; do
    command -v "$tool" >/dev/null || { say "$tool is not there; this needs a Debian."; exit 1; }
  done
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  # Debian's chromium-common brings the driver and a loader for it.
  (cd "$work" && apt-get download chromium-common) >&2 ||
    { say "the package chromium-common cannot be fetched (try apt-get update)."; exit 1; }
  dpkg-deb -x "$work"/chromium-common_*.deb "$work/files"
  for name in "$library" "$loader" "$manifest"; do
    found=$(find "$work/files" -name "$name" | head -n 1)
    [ -n "$found" ] || { say "chromium-common contains no $name."; exit 1; }
    # The manifest goes last: where it is, the folder is complete. It names the library beside it.
    cp "$found" "$folder/$name"
  done
fi

echo "export LD_LIBRARY_PATH='$folder'\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}"
echo "export VK_DRIVER_FILES='$folder/$manifest'"
