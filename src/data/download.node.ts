/**
 * Bytes over HTTP: resumed where they broke off, tried again when the trouble may pass. Whether they are the
 * right bytes is decided in `assets.node.ts`.
 */
import { type FileHandle, open, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fail, GraftError, messageOf } from '../core/errors.ts';
import { readIfThere } from './verify.node.ts';

/** When to stop waiting. */
export interface Patience {
  /** Attempts in a row that bring nothing new before giving up. */
  readonly attempts: number;
  /** Milliseconds before the second attempt; doubled at each further one. */
  readonly delayMs: number;
  /** Milliseconds without a byte after which an attempt has failed. */
  readonly stallMs: number;
}

const usualPatience: Patience = { attempts: 4, delayMs: 500, stallMs: 30_000 };

export const mirrorHint = 'Check the connection, or name a mirror with --mirror or GRAFT_MIRROR.';

export interface DownloadOptions {
  /** Size if known: a part that is already complete is not asked for again. */
  readonly bytes?: number | null;
  readonly onBytes?: (done: number, total: number | null) => void;
  readonly signal?: AbortSignal | undefined;
  readonly patience?: Partial<Patience>;
}

/** Of what nobody says the size: no published file is larger. */
const mostBytes = 4 * 2 ** 30;
/** Of a small text. */
const mostText = 16 * 2 ** 20;
const mostRedirects = 10;

/**
 * Throws `argument` for an address with a user name or password: addresses stand in messages and in records of runs. The
 * error does not repeat it.
 */
export function checkAddress(address: string): URL {
  let url: URL;
  try {
    url = new URL(address);
  } catch {
    return fail('argument', 'An address cannot be read; expected one such as https://host/folder.');
  }
  if (url.username !== '' || url.password !== '') {
    fail(
      'argument',
      `The address of ${url.host} holds a user name or password, which would come into messages and records. ` +
        'Copy the files into a folder and name that, or use an address without them.',
    );
  }
  return url;
}

/** Where a redirect leads. Throws `network` for one that leaves https, or leads to no address of the web. */
export function redirected(from: URL, location: string | null): URL {
  let to: URL | null = null;
  try {
    to = location === null ? null : new URL(location, from);
  } catch {
    // Said below.
  }
  if (to === null) return fail('network', `${from.host} redirects, but does not say where to.`);
  const isSafe = to.protocol === 'https:' || (to.protocol === 'http:' && from.protocol === 'http:');
  if (!isSafe || to.username !== '' || to.password !== '') {
    fail(
      'network',
      `${from.host} redirects from ${from.protocol}// to ${to.protocol}//${to.host}${to.username === '' ? '' : ' with a user name'}; ` +
        'that is not followed.',
    );
  }
  return to;
}

const redirects = [301, 302, 303, 307, 308];

/** As `fetch`, following redirects that are safe. */
export async function request(address: string, init: RequestInit): Promise<Response> {
  let url = checkAddress(address);
  for (let hops = 0; hops <= mostRedirects; hops++) {
    const response = await fetch(url, { ...init, redirect: 'manual' });
    if (!redirects.includes(response.status)) return response;
    await response.body?.cancel();
    url = redirected(url, response.headers.get('location'));
  }
  return fail('network', `${url.host} redirects more than ${mostRedirects} times.`);
}

/** Trouble that may pass. Never leaves this file. */
class Transient extends Error {}

/**
 * Downloads into `<part>/data`, going on from what lies there. `<part>/validator` holds the server's ETag or
 * date, so that a file that changed on the server is not stitched to an older beginning.
 *
 * @returns whether bytes of an earlier attempt are part of the result
 * @throws `network` once patience is at an end or when the server says no for good
 */
export async function download(
  url: string,
  part: string,
  options: DownloadOptions = {},
): Promise<{ readonly resumed: boolean }> {
  const data = join(part, 'data');
  let most = await sizeOrZero(data);
  let resumed = false;
  const attempt = async (patience: Patience) => {
    resumed = await transfer(url, part, patience, options);
  };
  const advanced = async () => {
    const before = most;
    most = Math.max(most, await sizeOrZero(data));
    return most > before;
  };
  const giveUp = async (reason: string): Promise<never> => {
    const total = options.bytes ?? null;
    const came = `${await sizeOrZero(data)} ${total === null ? 'bytes' : `of ${total} bytes`} are there`;
    fail(
      'network',
      `Downloading ${url} failed: ${reason}. ${came}; the next try goes on from them. ${mirrorHint}`,
    );
  };
  await persist(attempt, advanced, giveUp, options);
  return { resumed };
}

/** Fetches a small text, such as a mirror's manifest. Throws `network`. */
export async function fetchText(url: string, options: DownloadOptions = {}): Promise<string> {
  let text = '';
  const attempt = async (patience: Patience) => {
    const watch = watchdog(patience.stallMs, options.signal);
    try {
      const response = await watch.network(request(url, { signal: watch.signal }));
      if (!response.ok) refuse(url, response.status);
      text = await textOf(response, url, watch);
    } finally {
      watch.stop();
    }
  };
  const giveUp = (reason: string) =>
    fail('network', `Fetching ${url} failed: ${reason}. Check the connection.`);
  await persist(attempt, async () => false, giveUp, options);
  return text;
}

async function textOf(response: Response, url: string, watch: Watchdog): Promise<string> {
  const reader = response.body?.getReader() ?? fail('network', `${url} answered without a body.`);
  const pieces: Uint8Array[] = [];
  for (let bytes = 0; ; ) {
    const chunk = await watch.network(reader.read());
    if (chunk.done) return Buffer.concat(pieces).toString('utf8');
    bytes += chunk.value.length;
    if (bytes > mostText) fail('network', `${url} sends more than ${mostText} bytes; expected a short text.`);
    pieces.push(chunk.value);
  }
}

async function persist(
  attempt: (patience: Patience) => Promise<void>,
  advanced: () => Promise<boolean>,
  giveUp: (reason: string) => never | Promise<never>,
  options: DownloadOptions,
): Promise<void> {
  const patience = { ...usualPatience, ...options.patience };
  for (let failures = 1; ; failures++) {
    try {
      return await attempt(patience);
    } catch (error) {
      options.signal?.throwIfAborted();
      if (!(error instanceof Transient)) throw error;
      if (await advanced()) failures = 1;
      if (failures >= patience.attempts) {
        return await giveUp(`${error.message} (${failures} attempts)`);
      }
      await delay(patience.delayMs * 2 ** (failures - 1), undefined, { signal: options.signal });
    }
  }
}

/** One request. True if it went on from the bytes that were there, false if it began anew. */
async function transfer(
  url: string,
  part: string,
  patience: Patience,
  options: DownloadOptions,
): Promise<boolean> {
  const data = join(part, 'data');
  const known = options.bytes ?? null;
  const offset = await sizeOrZero(data);
  if (known !== null && offset === known) return true;
  if (known !== null && offset > known) {
    await discard(part);
    throw new Transient(`${offset} bytes were there, more than the ${known} expected`);
  }
  // Compression on the way would make byte ranges and sizes meaningless.
  const headers: Record<string, string> = { 'accept-encoding': 'identity' };
  if (offset > 0) {
    headers['range'] = `bytes=${offset}-`;
    const validator = await readIfThere(join(part, 'validator'));
    if (validator) headers['if-range'] = validator;
  }
  const watch = watchdog(patience.stallMs, options.signal);
  try {
    const response = await watch.network(request(url, { headers, signal: watch.signal }));
    const range = /^bytes (?:(\d+)-\d+|\*)\/(\d+|\*)$/.exec(response.headers.get('content-range') ?? '');
    if (response.status === 416 && range?.[2] === String(offset)) return true;
    if (response.status === 416 || (response.status === 206 && Number(range?.[1]) !== offset)) {
      await discard(part);
      throw new Transient('the server and the bytes already here do not fit together');
    }
    if (!response.ok) refuse(url, response.status);
    const start = response.status === 206 ? offset : 0;
    if (start === 0) await writeValidator(part, response.headers);
    const length = response.headers.get('content-length');
    const total = length === null ? known : start + Number(length);
    await receive(response, data, { url, start, total, known }, watch, options);
    return start > 0;
  } finally {
    watch.stop();
  }
}

interface Expected {
  readonly url: string;
  /** Bytes that are there. */
  readonly start: number;
  /** Bytes in the end, as the server says, and as is recorded. */
  readonly total: number | null;
  readonly known: number | null;
}

/** Writes a body to disk as it comes. That it ends where Content-Length says is checked by `fetch`. */
async function receive(
  response: Response,
  path: string,
  { url, start, total, known }: Expected,
  watch: Watchdog,
  options: DownloadOptions,
): Promise<void> {
  const reader = response.body?.getReader() ?? fail('network', `${url} answered without a body.`);
  const file: FileHandle = await open(path, start > 0 ? 'a' : 'w');
  let done = start;
  try {
    options.onBytes?.(done, total);
    for (;;) {
      const chunk = await watch.network(reader.read());
      if (chunk.done) return;
      if (done + chunk.value.length > (known ?? mostBytes)) {
        fail(
          'checksum',
          `${url} sends more than the ${known ?? mostBytes} bytes that the file has. ${mirrorHint}`,
        );
      }
      await file
        .appendFile(chunk.value)
        .catch((error) => fail('file', `Writing failed: ${messageOf(error)}`, error));
      done += chunk.value.length;
      options.onBytes?.(done, total);
    }
  } finally {
    await file.close();
  }
}

interface Watchdog {
  readonly signal: AbortSignal;
  /** Waits for the network: a rejection, or silence for too long, becomes `Transient`. */
  network<T>(work: Promise<T>): Promise<T>;
  stop(): void;
}

function watchdog(stallMs: number, signal: AbortSignal | undefined): Watchdog {
  const stalled = new AbortController();
  const timer = setTimeout(() => stalled.abort(), stallMs);
  return {
    signal: signal === undefined ? stalled.signal : AbortSignal.any([signal, stalled.signal]),
    async network(work) {
      timer.refresh();
      try {
        return await work;
      } catch (error) {
        if (error instanceof GraftError) throw error;
        if (stalled.signal.aborted) throw new Transient(`nothing came for ${stallMs / 1000} s`);
        throw new Transient(reasonOf(error));
      }
    },
    // Aborting also closes a connection whose body nobody read to the end.
    stop() {
      clearTimeout(timer);
      stalled.abort();
    },
  };
}

/** `fetch` says only "fetch failed"; its cause says why. */
export function reasonOf(error: unknown): string {
  const cause = error instanceof Error ? error.cause : undefined;
  if (cause === undefined) return messageOf(error);
  const code = (cause as NodeJS.ErrnoException).code;
  return messageOf(cause) || code || messageOf(error);
}

function refuse(url: string, status: number): never {
  const passing = [408, 425, 429, 500, 502, 503, 504];
  if (passing.includes(status)) throw new Transient(`the server answered with status ${status}`);
  fail('network', `${url} answered with status ${status}: what should be there is not. ${mirrorHint}`);
}

/** Weak ETags do not promise equal bytes, so a date is better than those. */
async function writeValidator(part: string, headers: Headers): Promise<void> {
  const etag = headers.get('etag');
  const validator = etag !== null && !etag.startsWith('W/') ? etag : (headers.get('last-modified') ?? '');
  await rm(join(part, 'data'), { force: true });
  await writeFile(join(part, 'validator'), validator);
}

/** Forgets what came so far. */
export async function discard(part: string): Promise<void> {
  await rm(join(part, 'data'), { force: true });
  await rm(join(part, 'validator'), { force: true });
}

async function sizeOrZero(path: string): Promise<number> {
  try {
    return (await stat(path)).size;
  } catch {
    return 0;
  }
}
