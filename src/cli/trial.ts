/**
 * The process of one trial of a search: an ordinary training, told to it by the process that started it. When that
 * one is gone, however it ended, the trial ends too and can be continued.
 */
import { guard } from '../core/console.node.ts';
import { explained, GraftError, messageOf } from '../core/errors.ts';
import type { TrainConfig } from './config.ts';
import { ownFile } from './foreign.ts';
import { output } from './output.ts';
import { RunFolder } from './run_folder.ts';
import { runTraining } from './training_run.ts';

export interface TrialRequest {
  readonly path: string;
  readonly config: TrainConfig;
  readonly mirror: string | undefined;
  /** The program, as messages name it. */
  readonly program: string;
}

export interface TrialReply {
  /** Null if all went well; what came out is in the run's folder. */
  readonly error: { readonly code: string; readonly message: string } | null;
}

/** The search tells people what happens. */
const out = output({ quiet: true });

async function runTrial({ path, config, mirror, program }: TrialRequest): Promise<TrialReply> {
  process.argv[1] = program;
  const folder = new RunFolder(path);
  try {
    const previous = folder.exists ? await folder.read() : null;
    await using _lock = previous && (await folder.lock());
    const own = previous ? ownFile(previous.config, folder, previous.weights) : config;
    const { model } = await runTraining({ folder, config: own, mirror, previous, out });
    await model.close();
    return { error: null };
  } catch (thrown) {
    const error = explained(thrown);
    const code = error instanceof GraftError ? error.code : 'unexpected';
    return { error: { code, message: messageOf(error) } };
  }
}

// What it says goes to the search, which may be gone.
guard(process.stderr);
process.on('disconnect', () => process.exit(1));
process.once('message', (request: TrialRequest) => {
  void runTrial(request).then((reply) => process.send!(reply, () => process.exit()));
});
