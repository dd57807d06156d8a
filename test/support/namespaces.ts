/** Namespaces of Linux for tests: file systems and networks of their own. They need rights that not everybody has. */
import { execFileSync } from 'node:child_process';

/** Who is not root becomes it in a namespace of users, where the system lets them. */
const asRoot = process.getuid?.() === 0 ? [] : ['--user', '--map-root-user'];

/** The beginning of a command line whose rest runs in namespaces of its own. */
export function unshare(...flags: readonly string[]): [string, ...string[]] {
  return ['unshare', ...asRoot, ...flags];
}

/** Whether there can be such namespaces here; where not, it is said why, and tests that need them are skipped. */
export function mayUnshare(...flags: readonly string[]): boolean {
  return works([...unshare(...flags), 'true']);
}

function works([program, ...args]: readonly [string, ...string[]]): boolean {
  try {
    execFileSync(program, args, { stdio: 'pipe' });
    return true;
  } catch (error) {
    const { code, stderr } = error as { readonly code?: string; readonly stderr?: Buffer };
    console.warn(`Skipped: ${program} does not work here: ${stderr?.toString().trim() || code}`);
    return false;
  }
}

/**
 * A network in which every packet that does not stay on the loopback interface goes nowhere, and is counted; looking up
 * a name sends some. The first argument is a folder for its files, the rest a command. How much each interface has sent is
 * in the folder's `devices` afterwards.
 */
const network = `
set -eu
folder=$1; shift
if [ -e /proc/sys/net/ipv6 ]; then echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6; fi
ip link set lo up
ip link add outside type veth peer name nowhere
ip link set nowhere up
ip link set outside arp off up
ip address add 192.0.2.1/24 dev outside
ip route add default via 192.0.2.2
echo 'nameserver 192.0.2.53' > "$folder/resolv.conf"
mount --bind "$folder/resolv.conf" "$(readlink -f /etc/resolv.conf)"
status=0
"$@" || status=$?
cat /proc/net/dev > "$folder/devices"
exit $status`;

/** The command that runs another in such a network. */
export function inOwnNetwork(folder: string, command: readonly string[]): [string, ...string[]] {
  return [...unshare('--net', '--mount'), 'sh', '-c', network, 'sh', folder, ...command];
}

/** Whether there can be such a network here; where not, it is said why. */
export function mayHaveNetwork(folder: string): boolean {
  return works(inOwnNetwork(folder, ['true']));
}
