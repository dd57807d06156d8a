/** `graft doctor`: whether this machine has what Graft needs. */
import type { Command } from 'commander';
import { whileWaiting } from '../training/status_line.ts';
import {
  addCommonOptions,
  addDeviceOptions,
  addMirrorOption,
  type CommonOptions,
  type DeviceOptions,
} from './arguments.ts';
import {
  checkCache,
  checkCores,
  checkDevices,
  checkMemory,
  checkNetwork,
  checkNode,
  checkPictures,
  checkRuntime,
  type Finding,
} from './checks.ts';
import { outputFor, paint, plural, table } from './output.ts';

export interface DoctorOptions extends CommonOptions, DeviceOptions {
  readonly mirror?: string;
}

export function defineDoctor(command: Command): void {
  command.addHelpText('after', examples);
  addMirrorOption(command);
  addCommonOptions(addDeviceOptions(command));
  command.action(runDoctor);
}

const examples = `
Each device multiplies two matrices, and the result is compared. The publishers of data and weights,
or the mirror, are asked whether their files are there; it says whom. Being offline is a note, no problem.

Examples:
  $ graft doctor
  $ graft doctor --device webgpu       a problem if there is no such device
  $ graft doctor --json

Exit codes: 0 nothing is wrong, 1 there is a problem.`;

async function runDoctor(options: DoctorOptions): Promise<void> {
  const out = outputFor(options);
  const findings = await whileWaiting('Trying what Graft needs', out.verbose, async () => [
    ...[checkNode(), checkRuntime(), await checkPictures()],
    ...(await checkDevices(options)),
    ...[checkCores(options), checkMemory(), await checkCache()],
    await checkNetwork(options.mirror ?? process.env['GRAFT_MIRROR'] ?? ''),
  ]);
  const problems = findings.filter(({ verdict }) => verdict === 'problem');
  out.result(describe(findings));
  out.result(
    `\n${problems.length === 0 ? 'Graft can work here.' : `${plural(problems.length, 'problem')}.`}`,
  );
  out.json({ command: 'doctor', ok: problems.length === 0, findings });
  if (problems.length > 0) process.exitCode = 1;
}

const colours = { ok: 'green', note: 'yellow', problem: 'red' } as const;

function describe(findings: readonly Finding[]): string {
  const titles = Math.max(...findings.map(({ name }) => name.length));
  const rows = findings.map(({ name, verdict, text, mend }) => {
    const title = `${verdict.padEnd('problem'.length)}  ${name.padEnd(titles)}`;
    return [title, mend === null ? text : `${text} ${mend}`] as const;
  });
  const lines = table(rows).split('\n');
  return lines
    .map((line) =>
      line.replace(/^(ok|note|problem) /, (word) =>
        paint(process.stdout, colours[word.trim() as Finding['verdict']], word),
      ),
    )
    .join('\n');
}
