/**
 * Keras 3's `.keras` files: a zip of `metadata.json`, `config.json` and `model.weights.h5`. It owns the archive;
 * what the parts say is others' business. An archive is never trusted: every size is checked before and while it is
 * unpacked, and nothing is unpacked but the weights, into a file of our own naming.
 */
import { createWriteStream } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable, Transform } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { crc32 } from 'node:zlib';
import { type Entry, fromRandomAccessReaderPromise, RandomAccessReader, type ZipFile } from 'yauzl';
import { ZipFile as ZipWriter } from 'yazl';
import { fail, GraftError, messageOf } from '../core/errors.ts';
import { writeAtomically } from '../core/files.node.ts';
import { parseJson } from '../core/json.ts';
import { byteLimits, RegularFile } from '../core/regular_file.node.ts';
import { withoutTrailing } from '../core/text.ts';

const METADATA = 'metadata.json';
const CONFIG = 'config.json';
const WEIGHTS = 'model.weights.h5';

/** Largest JSON that is read; that of a network of a thousand layers has 2 MB. */
const JSON_LIMIT = 64 << 20;

/** Unpacked weights may be this many times larger than the archive, as in Keras, which does not compress. */
const EXPANSION_LIMIT = 100;

/** What is in an archive. */
export interface KerasArchive {
  readonly metadata: unknown;
  readonly config: unknown;
  /** The unpacked `model.weights.h5`; it is gone after the archive has been read. */
  readonly weightsPath: string;
}

/**
 * Opens an archive, hands it to a function and removes what was unpacked. Throws `file` when it is missing, damaged,
 * lacks a part, holds one twice, or declares or contains more than it may.
 */
export async function readArchive<T>(path: string, use: (archive: KerasArchive) => Promise<T>): Promise<T> {
  const zip = await openZip(path);
  let folder: string | null = null;
  let archive: KerasArchive;
  try {
    const entries = await entriesOf(path, zip);
    const part = (name: string) => entries.get(name) ?? fail('file', `${path} lacks ${name}; ${expected}`);
    const json = async (name: string) => {
      checkSize(path, part(name), JSON_LIMIT);
      const bytes = await buffer(await content(zip, part(name)));
      return parseJson(bytes.toString('utf8'), `${name} in ${path}`);
    };
    const [metadata, config] = [await json(METADATA), await json(CONFIG)];
    checkSize(path, part(WEIGHTS), EXPANSION_LIMIT * zip.fileSize);
    folder = await mkdtemp(join(tmpdir(), 'graft-keras-'));
    const weightsPath = join(folder, WEIGHTS);
    await pipeline(await content(zip, part(WEIGHTS)), createWriteStream(weightsPath, { flags: 'wx' }));
    archive = { metadata, config, weightsPath };
    zip.close();
    return await use(archive);
  } catch (error) {
    return damaged(path, error);
  } finally {
    zip.close();
    if (folder !== null) await rm(folder, { recursive: true, force: true });
  }
}

async function openZip(path: string): Promise<ZipFile> {
  const file = await RegularFile.open(path, { limit: byteLimits.weights, kind: 'a model' });
  try {
    const options = { autoClose: false, strictFileNames: true };
    return await fromRandomAccessReaderPromise(new OpenFile(file), file.bytes, options);
  } catch (error) {
    await file.close();
    return damaged(path, error);
  }
}

/** A file as the library reads it; the library closes it together with the archive. */
class OpenFile extends RandomAccessReader {
  readonly #file: RegularFile;

  constructor(file: RegularFile) {
    super();
    this.#file = file;
  }

  override _readStreamForRange(start: number, end: number): Readable {
    return Readable.from(this.#file.pieces(start, end), { objectMode: false });
  }

  override read(
    into: Buffer,
    offset: number,
    length: number,
    position: number,
    done: (error: Error | null) => void,
  ): void {
    this.#file
      .read(position, length)
      .then((bytes) => bytes.copy(into, offset))
      .then(() => done(null), done);
  }

  override close(done: (error: Error | null) => void): void {
    this.#file.close().then(() => done(null), done);
  }
}

const expected = `a .keras file holds ${METADATA}, ${CONFIG} and ${WEIGHTS}.`;

/** The entries by name; the library refuses absolute paths and those that lead upwards. */
async function entriesOf(path: string, zip: ZipFile): Promise<ReadonlyMap<string, Entry>> {
  const entries = new Map<string, Entry>();
  for await (const entry of zip.eachEntry()) {
    if (entries.has(entry.fileName)) fail('file', `${path} holds ${entry.fileName} twice; ${expected}`);
    entries.set(entry.fileName, entry);
  }
  return entries;
}

function checkSize(path: string, { fileName, uncompressedSize }: Entry, limit: number): void {
  if (uncompressedSize <= limit) return;
  fail('file', `${path} declares ${uncompressedSize} bytes for ${fileName}; at most ${limit} are read.`);
}

/** The unpacked bytes of an entry. The library ends them at the declared size; the checksum is compared here. */
async function content(zip: ZipFile, entry: Entry): Promise<Readable> {
  const source = await zip.openReadStreamPromise(entry);
  let sum = 0;
  const checked = new Transform({
    transform(piece: Buffer, _encoding, done) {
      sum = crc32(piece, sum);
      done(null, piece);
    },
    flush(done) {
      done(sum === entry.crc32 ? null : new Error(`the checksum of ${entry.fileName} does not match`));
    },
  });
  source.on('error', (error) => checked.destroy(error));
  return source.pipe(checked);
}

function damaged(path: string, error: unknown): never {
  if (error instanceof GraftError) throw error;
  return fail(
    'file',
    `${path} is damaged or not a .keras file: ${withoutTrailing(messageOf(error), '.')}.`,
    error,
  );
}

/** What is to be written: the weights by a function that makes the file. */
export interface NewArchive {
  readonly metadata: unknown;
  readonly config: unknown;
  writeWeights(path: string): Promise<void>;
}

/** Writes an archive, atomically and uncompressed, as Keras does. Throws `file` when writing fails. */
export async function writeArchive(path: string, archive: NewArchive): Promise<void> {
  await writeAtomically(path, async (temp) => {
    const weights = `${temp}.h5`;
    try {
      await archive.writeWeights(weights);
      const zip = new ZipWriter();
      // Two files of the same model are the same: no times, and no time zone in them.
      const options = {
        compress: false,
        mtime: new Date(1980, 0, 1),
        mode: 0o100644,
        forceDosTimestamp: true,
      };
      zip.addBuffer(Buffer.from(JSON.stringify(archive.metadata)), METADATA, options);
      zip.addBuffer(Buffer.from(JSON.stringify(archive.config)), CONFIG, options);
      zip.addFile(weights, WEIGHTS, options);
      zip.end();
      const failed = new Promise<never>((_, reject) => zip.on('error', reject));
      await Promise.race([pipeline(zip.outputStream, createWriteStream(temp, { flags: 'wx' })), failed]);
    } finally {
      await rm(weights, { force: true });
    }
  });
}
