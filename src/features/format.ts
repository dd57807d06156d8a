/** Numbers as people read them. */

/** `20.1 GB`; powers of ten, as disks are sold. */
export function formatBytes(bytes: number): string {
  const units = ['bytes', 'kB', 'MB', 'GB', 'TB'];
  const power = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log10(Math.max(bytes, 1)) / 3)));
  return `${power === 0 ? bytes : (bytes / 1000 ** power).toFixed(1)} ${units[power]}`;
}

/** `60,000 images` */
export function formatImages(count: number): string {
  return `${count.toLocaleString('en-US')} image${count === 1 ? '' : 's'}`;
}
