declare module 'fs-native-extensions' {
  /** Locks a range of an open file for this opening of it; false if it is locked. Throws what the system says. */
  export function tryLock(descriptor: number, offset: number, length: number): boolean;
}
