/**
 * The devices that a test run covers. `GRAFT_TEST_DEVICES` (for example `cpu,webgpu`) demands some by name, and
 * then a missing one fails; without it, every device that is there is tested, and the others say why not.
 */
import { GraftError } from '../../src/core/errors.ts';
import * as o from '../../src/graph/ops.ts';
import { emitModel } from '../../src/onnx/emit.ts';
import { type Device, Engine } from '../../src/runtime/engine.node.ts';

export interface DeviceUnderTest {
  readonly device: Device;
  /** Why it cannot be tested here, or null. */
  readonly missing: string | null;
}

const all: readonly Device[] = ['cpu', 'webgpu', 'cuda'];

/** Why a device is not there, or null if it is. */
async function whyMissing(device: Device): Promise<string | null> {
  const engine = Engine.start({ device, threads: 1 });
  try {
    await engine.load(emitModel({ y: o.neg(o.input('x', [1])) }));
    return null;
  } catch (error) {
    if (error instanceof GraftError && error.code === 'device') return error.message.replace(/\s+/g, ' ');
    throw error;
  } finally {
    await engine.close();
  }
}

export async function devicesUnderTest(): Promise<DeviceUnderTest[]> {
  const asked = process.env['GRAFT_TEST_DEVICES']?.split(',').map((name) => name.trim());
  const found: DeviceUnderTest[] = [];
  for (const device of all) {
    if (asked?.includes(device)) found.push({ device, missing: null });
    else if (asked !== undefined) found.push({ device, missing: 'not named in GRAFT_TEST_DEVICES' });
    else found.push({ device, missing: await whyMissing(device) });
  }
  return found;
}
