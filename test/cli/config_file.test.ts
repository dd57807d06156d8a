/** `graft.config.{ts,js,json}`: its defaults, its types, and what is refused. */
import { mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { ConfigFile } from '../../src/cli/config_file.ts';
import { makeProgram } from '../../src/cli/program.ts';
import { defineConfig, type GraftConfig } from '../../src/index.ts';
import { jsonOf, makeMirror, makeWorkplace, repository, type Workplace, words } from './support.ts';

let workplace: Workplace;
beforeAll(async () => {
  workplace = await makeWorkplace();
  await writeFile(workplace.path('package.json'), '{ "name": "pets", "private": true }');
  await mkdir(workplace.path('node_modules'));
  await symlink(repository, workplace.path('node_modules/graft-ml'));
});
afterAll(() => workplace.remove());
afterEach(async () => {
  for (const ending of ['ts', 'mjs', 'js', 'json'])
    await rm(workplace.path(`graft.config.${ending}`), { force: true });
});

const apply = async (args: string[]) => ConfigFile.apply(await makeProgram(), args, workplace.folder);
const writeConfig = (ending: string, text: string) =>
  writeFile(workplace.path(`graft.config.${ending}`), text);

describe('a config file', () => {
  it('gives defaults; the command line wins over them', async () => {
    await writeConfig('json', JSON.stringify({ summary: { backbone: 'mobilenet_v2', head: 'gap,dense:7' } }));
    const head = async (...args: string[]) => {
      const { layers } = jsonOf(await workplace.run(['summary', '--json', ...args])) as {
        layers: { name: string; outputShape: unknown }[];
      };
      return layers.slice(-2).map(({ outputShape }) => outputShape);
    };
    expect(await head()).toEqual([
      [null, 7],
      [null, 10],
    ]);
    expect(await head('--head', 'gap,dense:5')).toEqual([
      [null, 5],
      [null, 10],
    ]);
  });

  it('becomes part of what a run records, so that the recorded command needs no file', async () => {
    const mirror = await makeMirror(workplace.path('mirror'));
    const train = {
      ...{
        weights: 'none',
        imageSize: 32,
        backboneOutput: 'conv2_block1_out',
        limit: 40,
        validationLimit: 20,
      },
      ...{
        batchSize: 20,
        optimizer: 'sgd',
        threads: 1,
        head: 'gap,bn',
        epochs: 9,
        cacheLimit: '1GB',
        mirror,
      },
    };
    await writeConfig(
      'mjs',
      `import { defineConfig } from 'graft-ml';\nexport default defineConfig(${JSON.stringify({ train })});`,
    );
    const { code, stderr } = await workplace.run(
      words('train --data cifar10 --epochs 1 --out runs/a --quiet'),
    );
    expect(stderr).toBe('');
    expect(code).toBe(0);
    const { config, command } = await workplace.record('runs/a');
    expect(config).toMatchObject({
      head: 'gap,bn',
      optimizer: 'sgd',
      epochs: 1,
      cacheLimit: 1e9,
      batchSize: 20,
    });
    expect(command?.join(' ')).toBe(
      'train --weights none --image-size 32 --backbone-output conv2_block1_out --limit 40 --validation-limit 20 ' +
        `--batch-size 20 --optimizer sgd --threads 1 --head gap,bn --cache-limit 1GB --mirror ${mirror} ` +
        '--data cifar10 --epochs 1 --out runs/a --quiet',
    );
  });

  it('is read in TypeScript, whether Node reads that or not', async () => {
    await writeConfig(
      'ts',
      `import { defineConfig, type GraftConfig } from 'graft-ml';
       const config: GraftConfig = { cache: { prune: { all: true } } };
       export default defineConfig(config);`,
    );
    const { code, stdout } = await workplace.run(['cache', 'prune']);
    expect(stdout).toContain('Removed:');
    expect(code).toBe(0);
  });

  it('with an error in it is an error that names it', async () => {
    await writeConfig('ts', 'export default { train: } as const;');
    const { code, stderr } = await workplace.run(['cache', 'prune']);
    expect(stderr).toMatch(/^error: graft\.config\.ts cannot be loaded: /);
    expect(code).toBe(2);
  });

  it('does not stand in the way of help', async () => {
    await writeConfig('json', '{');
    expect((await workplace.run(['train', '--help'])).code).toBe(0);
    const { code, stderr } = await workplace.run(['models']);
    expect(stderr).toMatch(/^error: .*graft\.config\.json is not valid JSON: /);
    expect(code).toBe(1);
  });

  it('is named where what it adds does not fit the command line', async () => {
    await writeConfig('json', JSON.stringify({ train: { momentum: 0.9, optimizer: 'sgd' } }));
    const { code, stderr } = await workplace.run(words('train --data cifar10 --optimizer adam'));
    expect(stderr).toContain('error: --momentum is for sgd and rmsprop; adam has its own.');
    expect(stderr).toContain('\ngraft.config.json adds: --momentum 0.9\n');
    expect(code).toBe(2);
  });

  it.each<readonly [string, unknown, string]>([
    [
      'an unknown option',
      { train: { optimiser: 'adam' } },
      'graft.config.json: train: there is no option "optimiser". Did you mean optimizer?',
    ],
    [
      'an option as it is typed',
      { train: { 'learning-rate': 1 } },
      'there is no option "learning-rate". Did you mean learningRate?',
    ],
    [
      'an unknown command',
      { trian: {} },
      'graft.config.json: there is no command "trian". Did you mean train?',
    ],
    [
      'an unknown word of a command',
      { cache: { prume: {} } },
      'graft.config.json: cache: there is no command "prume". Did you mean prune?',
    ],
    [
      'an option of another command',
      { evaluate: { epochs: 3 } },
      'graft.config.json: evaluate: there is no option "epochs".',
    ],
    ['what belongs to one run', { train: { resume: 'runs/a' } }, 'train: there is no option "resume".'],
    [
      'a section that is none',
      { train: 'fast' },
      'graft.config.json: train has to be an object with the options of train.',
    ],
    [
      'a value that does not fit',
      { models: {}, data: { validationSplit: 2 } },
      'graft.config.json: data.validationSplit: "2" is invalid. Expected a number between 0 and 1.',
    ],
    [
      'a choice that is none',
      { data: { splitSeed: 'x' } },
      'graft.config.json: data.splitSeed: "x" is invalid. Expected a whole number',
    ],
    [
      'a list',
      { data: { splitSeed: [1] } },
      'graft.config.json: data.splitSeed: expected a text or a number, got [1].',
    ],
    [
      'a text for a flag',
      { data: { quiet: 'yes' } },
      'graft.config.json: data.quiet: expected true or false, got "yes".',
    ],
    ['no object', [], 'graft.config.json: expected an object with a section for each command.'],
  ])('is refused with its name: %s', async (_, config, text) => {
    await writeConfig('json', JSON.stringify(config));
    await expect(apply(['data', '.'])).rejects.toMatchObject({
      code: 'argument',
      message: expect.stringContaining(text),
    });
  });

  it('is one file', async () => {
    await writeConfig('json', '{}');
    await writeConfig('mjs', 'export default {}');
    await expect(apply(['models'])).rejects.toThrow(
      'There are graft.config.mjs and graft.config.json here: keep one of them.',
    );
  });

  it('that throws is named', async () => {
    await writeConfig('mjs', 'throw new Error("no luck")');
    await expect(apply(['models'])).rejects.toThrow('graft.config.mjs cannot be loaded: no luck');
  });

  it('without a default export is refused', async () => {
    await writeConfig('js', 'export const train = {}');
    await expect(apply(['models'])).rejects.toThrow('graft.config.js: expected a default export');
  });
});

describe('its types', () => {
  it('know the options of each command', () => {
    const config = defineConfig({
      train: { optimizer: 'adamw', learningRate: 1e-3, cacheLimit: '20GB', skipBroken: false },
      report: { pictures: false },
    });
    expect(config.train?.optimizer).toBe('adamw');
    // @ts-expect-error No such optimizer.
    defineConfig({ train: { optimizer: 'lion' } });
    // @ts-expect-error No such option.
    defineConfig({ train: { optimiser: 'adam' } });
    // @ts-expect-error A number.
    defineConfig({ train: { epochs: 'many' } });
    // @ts-expect-error It belongs to one run.
    defineConfig({ train: { resume: 'runs/a' } });
  });

  it('have a section for each command', async () => {
    const sections: Record<keyof Required<GraftConfig>, true> = {
      ...{ start: true, data: true, train: true, evaluate: true, predict: true, export: true, report: true },
      ...{ summary: true, models: true, inspect: true, cache: true, doctor: true },
      ...{ sweep: true, advise: true, 'lr-find': true, explain: true, compare: true },
    };
    const commands = (await makeProgram()).commands.map((command) => command.name());
    expect(commands.filter((name) => name !== 'completion').sort()).toEqual(Object.keys(sections).sort());
  });
});
