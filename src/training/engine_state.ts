/**
 * Keeps weights and optimizer state the same in the model and in the engine of the step. While training goes on, the
 * engine's are the newer ones.
 */
import { initialSlots, type Program } from '../compile/program.ts';
import { byWhole, partOf, type Slab } from '../compile/slabs.ts';
import { type Tensor, tensor } from '../core/tensor.ts';
import type { Variable } from '../layers/layer.ts';
import type { Engine } from '../runtime/engine.node.ts';

/** Optimizer state by name (`w3/velocity`). */
export type Slots = Readonly<Record<string, Float32Array>>;

/** What an engine took with it. */
export interface Lost {
  /** Weights that were newer in it than in the model; `some` if others of them had come already. */
  readonly weights: 'all' | 'some' | 'none';
  readonly slots: boolean;
}

export class EngineState {
  /** The version of each weight that the engine has. */
  readonly #pushed = new Map<Variable, number>();
  /** The optimizer's state while the engine does not have it; `null` before the first step. */
  #slots: Slots | null = null;
  #slotsPushed = false;
  /** True while the model has some of the engine's weights. */
  #halfPulled = false;
  /** True while the engine has weights that the model does not. */
  engineIsNewer = false;

  /** Writes into the engine whatever weights it does not have yet. */
  async push(engine: Engine, { weights }: Program): Promise<void> {
    const tensors: Record<string, Tensor> = {};
    const versions = new Map([...weights.values()].map(({ variable }) => [variable, variable.version]));
    for (const [name, slab] of weights) {
      const { variable, shape } = slab;
      if (this.#pushed.get(variable) === variable.version) continue;
      tensors[name] = tensor('float32', shape, partOf(slab, variable.values));
    }
    if (Object.keys(tensors).length > 0) await engine.write(tensors);
    for (const [variable, version] of versions) this.#pushed.set(variable, version);
  }

  /** Only steps need the optimizer's state; from the first one on it is in the engine alone. */
  async pushSlots(engine: Engine, program: Program): Promise<void> {
    if (this.#slotsPushed) return;
    const tensors = initialSlots(program);
    for (const [name, slab] of program.slots) {
      const given = this.#slots?.[slab.whole];
      if (given !== undefined) tensors[name] = tensor('float32', slab.shape, partOf(slab, given));
    }
    if (Object.keys(tensors).length > 0) await engine.write(tensors);
    this.#slotsPushed = true;
    this.#slots = null;
  }

  /** Brings the weights of the engine into the model. */
  async pull(engine: Engine | null, program: () => Program): Promise<void> {
    if (!this.engineIsNewer || engine === null) return;
    for (const slabs of byWhole(program().weights.values()).values()) {
      const { variable } = slabs[0]!;
      // What was assigned since the engine got it is the newer one.
      if (this.#pushed.get(variable) !== variable.version) continue;
      // One after the other, so that the old values of all are not there beside the new ones.
      variable.assign(await readWhole(engine, slabs));
      this.#pushed.set(variable, variable.version);
      this.#halfPulled = true;
    }
    this.engineIsNewer = false;
    this.#halfPulled = false;
  }

  /** A copy of the optimizer's state, or of those slots that are asked for; `null` before the first step. */
  async slots(engine: Engine | null, program: () => Program, slot?: string): Promise<Slots | null> {
    if (!this.#slotsPushed || engine === null) return this.#slots;
    const wanted = [...program().slots.values()].filter((each) => slot === undefined || each.slot === slot);
    const values: Record<string, Float32Array> = {};
    for (const [whole, slabs] of byWhole(wanted)) values[whole] = await readWhole(engine, slabs);
    return values;
  }

  /** Sets optimizer state, as from a file. */
  setSlots(slots: Slots | null): void {
    this.#slots = slots;
    this.#slotsPushed = false;
  }

  /** After the engine has ended: nothing is in it any more. */
  forget(): void {
    this.#pushed.clear();
    this.#slotsPushed = false;
  }

  /** The same where the engine ended by itself. Returns what was in it alone. */
  lose(): Lost {
    const weights = this.#halfPulled ? 'some' : this.engineIsNewer ? 'all' : 'none';
    const lost = { weights, slots: this.#slotsPushed } as const;
    this.forget();
    this.engineIsNewer = false;
    this.#halfPulled = false;
    return lost;
  }
}

async function readWhole(engine: Engine, slabs: readonly Slab[]): Promise<Float32Array> {
  const read = async ({ name }: Slab) => (await engine.read([name]))[name]!.data as Float32Array;
  const [first] = slabs;
  if (slabs.length === 1) return read(first!);
  const values = new Float32Array(first!.variable.size);
  for (const slab of slabs) partOf(slab, values).set(await read(slab));
  return values;
}
