/** Namespaces of Linux for tests: file systems and networks of their own. They need rights that not everybody has. */
import { execFileSync } from 'node:child_process';

/** Whether `unshare` may do this here, and why not; tests that need it say so where they are skipped. */
export function mayUnshare(...flags: readonly string[]): boolean {
  try {
    execFileSync('unshare', [...flags, 'true'], { stdio: 'pipe' });
    return true;
  } catch (error) {
    const { code, stderr } = error as { readonly code?: string; readonly stderr?: Buffer };
    console.warn(
      `Skipped: unshare ${flags.join(' ')} does not work here: ${stderr?.toString().trim() || code}`,
    );
    return false;
  }
}
