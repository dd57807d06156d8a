/** The graphs of a compiled model in the engine: a program for each kind of data that occurs, loaded as it is asked for. */
import { buildProgram, type Program, type ProgramOptions } from '../compile/program.ts';
import { fail, GraftError } from '../core/errors.ts';
import type { Variable } from '../layers/layer.ts';
import type { Engine, Session } from '../runtime/engine.node.ts';
import type { ExecutorOptions } from './executor.ts';
import { type FeatureBatch, keptFeatures } from './feeds.ts';
import { nothingFrozen } from './integers.ts';

/** What the data looks like; a program is built for each that occurs. */
export type ProgramKind = Pick<ProgramOptions, 'imageDType' | 'labels' | 'featureDType'>;

type GraphName = 'step' | 'accumulate' | 'evaluate' | 'predict';

export interface Loaded {
  readonly program: Program;
  /** Why there is no step, where the model is to train and cannot: its program only evaluates and predicts. */
  readonly refusal: GraftError | null;
  /** By graph, and by the batch that it was written for. */
  readonly sessions: Map<string, Promise<Session>>;
  /** Versions of the weights that are compiled in. */
  readonly constants: readonly (readonly [Variable, number])[];
}

export class Programs {
  readonly #loaded = new Map<string, Loaded>();
  readonly #options: ExecutorOptions;
  readonly #onReplaced: (old: Program) => void;

  constructor(options: ExecutorOptions, onReplaced: (old: Program) => void) {
    this.#options = options;
    this.#onReplaced = onReplaced;
  }

  get none(): boolean {
    return this.#loaded.size === 0;
  }

  /** After the engine has ended: nothing is in it any more. */
  clear(): void {
    this.#loaded.clear();
  }

  /** One of those in use: they differ in what they are fed, not in their state. */
  any(): Program {
    const [first] = this.#loaded.values();
    return first?.program ?? fail('state', 'Nothing has been run yet.');
  }

  /** The program for this kind of data; rebuilt if weights that were compiled in have changed since. */
  load(kind: ProgramKind): Loaded {
    const key = `${kind.imageDType}/${kind.labels}/${kind.featureDType}`;
    const known = this.#loaded.get(key);
    if (known?.constants.every(([variable, version]) => variable.version === version)) return known;
    for (const session of known?.sessions.values() ?? []) {
      session.then((loaded) => loaded.release()).catch(() => undefined);
    }
    if (known) this.#onReplaced(known.program);
    const { program, refusal } = this.#build(kind);
    if (this.#options.precision === 'int8' && program.frozen === null) fail('state', nothingFrozen);
    const changing = new Set([...program.weights.values()].map(({ variable }) => variable));
    const constants = this.#options.network.variables
      .filter((variable) => !changing.has(variable))
      .map((variable) => [variable, variable.version] as const);
    const loaded: Loaded = { program, refusal, sessions: new Map(), constants };
    this.#loaded.set(key, loaded);
    return loaded;
  }

  /** Throws what keeps a model from training on this kind of data. */
  checkStep(kind: ProgramKind): void {
    const { refusal } = this.load(kind);
    if (refusal !== null) throw refusal;
  }

  /** What has no gradient can be predicted with all the same. */
  #build(kind: ProgramKind): Pick<Loaded, 'program' | 'refusal'> {
    const options = { ...this.#options, ...kind };
    try {
      return { program: buildProgram(options), refusal: null };
    } catch (error) {
      if (!options.trains || !(error instanceof GraftError)) throw error;
      return { program: buildProgram({ ...options, trains: false }), refusal: error };
    }
  }

  /**
   * A graph for any batch, or the one for these batches if the runtime's own convolutions can serve them; it gathers
   * features itself that the engine keeps.
   */
  async session(
    engine: Engine,
    { program, sessions }: Loaded,
    name: GraphName,
    batches: readonly FeatureBatch[] = [],
  ): Promise<Session> {
    const { model, convolves, ...binding } = program[name]!;
    const [batch] = batches;
    const steps = batches.length > 1;
    const size = batch?.sampleWeight.length ?? 0;
    const block = size > 0 && convolves ? await engine.channelBlock() : 0;
    const blocked = block > 0 && size % block === 0;
    const gathered = batch === undefined ? [] : keptFeatures(batch, program.features);
    const kinds = [blocked && size, gathered.length > 0 && 'gathered', steps && 'steps'];
    const key = [name, ...kinds.filter((each) => each !== false)].join('/');
    const known = sessions.get(key);
    if (known !== undefined) return known;
    const session = engine.load(
      model({ ...(blocked ? { blocking: { block, batch: size } } : {}), gathered, steps }),
      // Its last step reads what the one before it has written, not what was fed.
      { ...binding, inPlace: steps },
    );
    sessions.set(key, session);
    session.catch(() => sessions.delete(key));
    return session;
  }
}
