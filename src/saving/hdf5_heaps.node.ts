/**
 * Finds what the HDF5 library would read for ever: a global heap, where texts of any length lie, with an object that
 * takes no room. The library goes from object to object and never arrives at the end.
 */
import type { FileHandle } from 'node:fs/promises';

const signature = Buffer.from('GCOL\x01\0\0\0', 'latin1');
const headerBytes = 16;
const objectBytes = 16;
const CHUNK_BYTES = 2 ** 20;

/** The position of a heap that cannot be walked, or null. */
export async function endlessHeap(file: FileHandle): Promise<number | null> {
  const chunk = Buffer.alloc(CHUNK_BYTES);
  for (let start = 0; ; start += CHUNK_BYTES - signature.length + 1) {
    const { bytesRead } = await file.read(chunk, 0, CHUNK_BYTES, start);
    const bytes = chunk.subarray(0, bytesRead);
    for (let at = bytes.indexOf(signature); at >= 0; at = bytes.indexOf(signature, at + 1)) {
      if (!(await ends(file, start + at))) return start + at;
    }
    if (bytesRead < CHUNK_BYTES) return null;
  }
}

/** Whether going from object to object leads to the end of a heap. What lies behind the file's end the library sees. */
async function ends(file: FileHandle, position: number): Promise<boolean> {
  const head = Buffer.alloc(objectBytes);
  const read = async (at: number) => (await file.read(head, 0, objectBytes, at)).bytesRead === objectBytes;
  if (!(await read(position))) return true;
  const end = BigInt(position) + head.readBigUInt64LE(8);
  let at = BigInt(position + headerBytes);
  while (at + BigInt(objectBytes) <= end) {
    if (!(await read(Number(at)))) return true;
    const size = head.readBigUInt64LE(8);
    // Object 0 is the free space, which counts its own header.
    const taken = head.readUInt16LE(0) === 0 ? size : BigInt(objectBytes) + ((size + 7n) / 8n) * 8n;
    if (taken === 0n || at + taken > end) return false;
    at += taken;
  }
  return true;
}
