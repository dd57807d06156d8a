/** What `graft doctor` looks at: each check tries the thing itself, and says what it found and how to mend it. */
import { rm, writeFile } from 'node:fs/promises';
import { availableParallelism, cpus, totalmem } from 'node:os';
import { join } from 'node:path';
import * as applications from '../applications/index.ts';
import { coreQuota, usableCores } from '../core/cores.node.ts';
import { GraftError, messageOf } from '../core/errors.ts';
import { cacheFolder, cifar10Asset, cifar100Asset, makeFolder, type Reach, reachAll } from '../data/index.ts';
import { listCaches, machine } from '../features/index.ts';
import { findRuntime } from '../runtime/onnxruntime.node.ts';
import { probeDevice } from '../runtime/probe.node.ts';
import type { Device } from '../runtime/protocol.ts';
import { type DeviceOptions, deviceNames } from './arguments.ts';
import { megabytes, plural } from './output.ts';

export interface Finding {
  readonly name: string;
  /** `problem`: Graft will not work as asked. `note`: worth knowing. */
  readonly verdict: 'ok' | 'note' | 'problem';
  /** What was found, in a sentence. */
  readonly text: string;
  /** What to do; null where there is nothing. */
  readonly mend: string | null;
}

const ok = (name: string, text: string): Finding => ({ name, verdict: 'ok', text, mend: null });
const note = (name: string, text: string, mend: string | null = null): Finding => ({
  ...{ name, verdict: 'note', text, mend },
});
const problem = (name: string, text: string, mend: string | null): Finding => ({
  ...{ name, verdict: 'problem', text, mend },
});
const installAgain = 'Remove node_modules and install again.';

/** Versions that Graft's tests run with; the first is the least that works. */
const tested = ['20.19', '22', '24'];

export function checkNode(version = process.versions.node): Finding {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const [least] = tested;
  if (major < 20 || (major === 20 && minor < 19))
    return problem('Node', `${version} is too old.`, `Install Node ${least} or newer (nodejs.org).`);
  if (!tested.some((one) => Number.parseInt(one, 10) === major))
    return note('Node', `${version}; Graft is tested with ${tested.join(', ')}.`);
  return ok('Node', version);
}

export function checkRuntime(): Finding {
  try {
    return ok('Runtime', `ONNX Runtime ${findRuntime().version}`);
  } catch (error) {
    return problem('Runtime', messageOf(error), error instanceof GraftError ? null : installAgain);
  }
}

/** The decoder of pictures is the other part with compiled code. */
export async function checkPictures(): Promise<Finding> {
  try {
    const { default: sharp } = await import('sharp');
    const pixel = await sharp(Buffer.from('<svg width="1" height="1"/>')).png().toBuffer();
    await sharp(pixel).raw().toBuffer();
    return ok('Pictures', `sharp ${sharp.versions.sharp} writes and reads one`);
  } catch (error) {
    return problem('Pictures', `sharp does not work: ${messageOf(error)}`, installAgain);
  }
}

/** Starts an engine on each device. The one that was asked for has to work; `cpu` always does. */
export async function checkDevices({ device, threads }: DeviceOptions): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const name of deviceNames) {
    const title = `Device ${name}`;
    try {
      const { gigaflops } = await probeDevice({ device: name, threads: threads ?? usableCores() });
      findings.push(ok(title, `multiplies exactly, about ${Number(gigaflops.toPrecision(2))} GFLOP/s`));
    } catch (error) {
      if (!(error instanceof GraftError)) throw error;
      const text = error.message.replace(/\s+/g, ' ');
      findings.push(
        name === device || name === 'cpu'
          ? problem(title, text, error.code === 'unsupported' ? null : deviceMend(name))
          : note(title, text),
      );
    }
  }
  return findings;
}

function deviceMend(name: Device): string {
  return name === 'cpu' ? installAgain : 'Use --device cpu.';
}

export function checkCores(
  { threads }: DeviceOptions,
  [parallel, quota]: readonly [number, number | null] = [availableParallelism(), coreQuota()],
): Finding {
  const usable = Math.max(1, Math.min(parallel, Math.floor(quota ?? parallel)));
  const limit = quota === null || quota >= parallel ? '' : `, of which this container may use ${quota}`;
  const text = `${plural(parallel, 'core')}${limit}${modelName()}; ${plural(threads ?? usable, 'thread')}`;
  if (threads !== undefined && threads > usable) {
    return note('Cores', `${text}: more than can run at once.`, `Leave out --threads, or give ${usable}.`);
  }
  if (usable === 1) return note('Cores', `${text}.`, 'Two or more make training much quicker.');
  return ok('Cores', text);
}

function modelName(): string {
  const model = cpus()[0]?.model.trim();
  return model ? ` (${model})` : '';
}

/** The reference job's processes together, with batches of 32 at 224 px (docs/results.md). */
const jobMemory = 4.1e9;

export function checkMemory(free = process.availableMemory(), limit = process.constrainedMemory()): Finding {
  const total = limit > 0 && limit < totalmem() ? limit : totalmem();
  const text = `${megabytes(free)} of ${megabytes(total)} free`;
  if (free >= jobMemory) return ok('Memory', text);
  return note(
    'Memory',
    `${text}; the reference job takes ${megabytes(jobMemory)}.`,
    'Heads on frozen features take under 1 GB; --head pooled and a smaller --batch-size help too.',
  );
}

/** Data, weights and what the smallest runs keep. */
const usualDownloads = 600e6;

export async function checkCache(): Promise<Finding> {
  const folder = cacheFolder();
  const change = 'Name another folder: GRAFT_CACHE.';
  try {
    await makeFolder(folder);
    const trial = join(folder, `.doctor-${process.pid}`);
    await writeFile(trial, 'x');
    await rm(trial);
  } catch (error) {
    return problem('Cache', `${folder} cannot be written to: ${messageOf(error)}`, change);
  }
  const free = await machine.disk(folder);
  const kept = await listCaches();
  const bytes = kept.reduce((total, cache) => total + cache.bytes, 0);
  const has =
    kept.length === 0 ? '' : `; features of ${plural(kept.length, 'data set')} take ${megabytes(bytes)}`;
  const text = `${folder} can be written to, ${megabytes(free)} free${has}`;
  if (free >= usualDownloads) return ok('Cache', text);
  return problem(
    'Cache',
    `${text}; CIFAR-10 and ResNet50 take ${megabytes(usualDownloads)}.`,
    `Make room (graft cache prune). ${change}`,
  );
}

/** Data sets and backbones: here already, or an address that answers. Being offline is no fault. */
export async function checkNetwork(mirror: string): Promise<Finding> {
  const weights = applications.all.flatMap(({ record: { noTop } }) => ('packaged' in noTop ? [] : [noTop]));
  const assets = [cifar10Asset, cifar100Asset, ...weights];
  const name = mirror === '' ? 'Network' : 'Mirror';
  try {
    return describeReach(name, mirror, await reachAll(assets, mirror));
  } catch (error) {
    if (!(error instanceof GraftError)) throw error;
    return problem(name, error.message, 'Mend --mirror or GRAFT_MIRROR, or leave it out.');
  }
}

export function describeReach(name: string, mirror: string, reached: readonly Reach[]): Finding {
  const of = (state: Reach['state']) => reached.filter((one) => one.state === state);
  const [here, answering, silent, missing] = [of('here'), of('answers'), of('silent'), of('missing')];
  const ids = (some: readonly Reach[]) =>
    some.map(({ id }) => id.replace(/\/.*/, '')).join(', ') || 'nothing';
  const hosts = [...new Set(reached.flatMap(({ asked }) => asked ?? []))].sort();
  const asked = hosts.length === 0 ? '' : `; asked ${hosts.join(', ')}`;
  if (mirror !== '')
    return (here.length + answering.length > 0 ? ok : note)(
      name,
      `${mirror} has ${ids([...here, ...answering])} of data sets and backbones${asked}`,
    );
  const bring =
    'What is missing can be brought: a mirror (GRAFT_MIRROR), or a cache folder that was filled elsewhere (GRAFT_CACHE).';
  if (silent.length === reached.length - here.length && silent.length > 0)
    return note(name, `offline (${silent[0]!.reason}); here: ${ids(here)}${asked}.`, bring);
  const lost = [...silent, ...missing];
  if (lost.length > 0)
    return note(
      name,
      `${lost.length} of ${reached.length} published files cannot be had: ${ids(lost)} (${lost[0]!.reason})${asked}.`,
      bring,
    );
  return ok(
    name,
    `all ${reached.length} published files answer, or are here already; here: ${ids(here)}${asked}`,
  );
}
