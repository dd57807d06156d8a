/** Starts trials, each in a process of its own, and tells what became of them. */
import { fork } from 'node:child_process';
import { existsSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { GraftError } from '../core/errors.ts';
import { byteLimits, readRegularFileIfThere } from '../core/regular_file.node.ts';
import type { Trial } from '../search/trials.ts';
import type { TrainConfig } from './config.ts';
import type { StopSignal } from './interrupt.ts';
import type { RunFolder, RunRecord } from './run_folder.ts';
import type { TrialReply, TrialRequest } from './trial.ts';

/** What became of a trial. */
export type Outcome = Pick<Trial, 'status' | 'result' | 'problem'>;

export interface RunningTrial {
  /** Never rejects for what happens in the trial. */
  readonly ended: Promise<Outcome>;
  /** Passes a signal on, at which it saves itself and stops. */
  stop(signal: StopSignal): void;
  kill(): void;
}

export interface TrialStart {
  readonly folder: RunFolder;
  readonly config: TrainConfig;
  readonly mirror: string | undefined;
  /** The command that trains the same, for the run's record. */
  readonly command: readonly string[];
}

/** An error says the most in its last lines. */
const keptErrors = 2000;

export function startTrial({ folder, config, mirror, command }: TrialStart): RunningTrial {
  const child = fork(fileURLToPath(new URL('./trial.js', import.meta.url)), command, {
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    // Ctrl-C in a terminal goes to a whole group of processes; here the search tells its trials.
    detached: true,
  });
  let errors = '';
  let stopped = false;
  let reply: TrialReply | null = null;
  child.stderr!.on('data', (piece) => {
    errors = (errors + String(piece)).slice(-keptErrors);
  });
  child.on('message', (message) => {
    reply = message as TrialReply;
  });
  const gone = new Promise<string>((resolve) => {
    child.on('error', (error) => resolve(error.message));
    child.on('close', (code, signal) => resolve(`its process ended (${signal ?? `exit code ${code}`})`));
  });
  const request: TrialRequest = { path: folder.path, config, mirror, program: process.argv[1]! };
  child.send(request, () => undefined); // A process that could not take it ends, and is heard of above.
  return {
    ended: gone.then(async (how): Promise<Outcome> => {
      const outcome = await outcomeOf(folder);
      if (outcome.status !== 'waiting') return outcome;
      if (reply?.error) return { ...outcome, status: 'broken', problem: reply.error.message };
      if (stopped) return outcome;
      return { ...outcome, status: 'broken', problem: [how, errors.trim()].filter(Boolean).join(': ') };
    }),
    stop(signal) {
      stopped = true;
      child.kill(signal);
    },
    kill: () => child.kill('SIGKILL'),
  };
}

/** What the folder of a trial tells: `waiting` for one that has not begun or can go on. */
export async function outcomeOf(folder: RunFolder): Promise<Outcome> {
  const record = folder.exists ? await folder.read() : null;
  if (record?.status === 'failed' && record.problem === undefined) {
    return { status: 'failed', result: null, problem: 'its loss is no longer a number' };
  }
  if (record?.status !== 'finished') return { status: 'waiting', result: null, problem: null };
  const { valAccuracy, valLoss, seconds, epochs, bestEpoch } = record.metrics!;
  return {
    status: 'finished',
    result: { valAccuracy, valLoss, seconds, epochs, bestEpoch },
    problem: null,
  };
}

/** The trials of a killed search end a moment after it. Waits until nobody holds the run, some seconds at most. */
export async function waitUntilFree(folder: RunFolder): Promise<void> {
  if (!existsSync(folder.path)) return;
  for (let patience = 50; ; patience--) {
    try {
      return await (await folder.lock())[Symbol.asyncDispose]();
    } catch (error) {
      if (!(error instanceof GraftError && error.code === 'state') || patience === 0) throw error;
      await wait(200);
    }
  }
}

/** Epochs that a run has done. */
export async function epochsDone({ historyPath }: RunFolder): Promise<number> {
  const table = { limit: byteLimits.table, kind: 'a CSV file' };
  const text = (await readRegularFileIfThere(historyPath, table))?.toString('utf8') ?? '';
  return Math.max(0, text.split('\n').length - 2);
}

/** Bytes: the most that a finished trial took, with its engines. */
export function memoryOf({ sessions }: RunRecord): number {
  return Math.max(0, ...sessions.flatMap(({ phases = [] }) => phases.map(({ memory }) => memory)));
}
