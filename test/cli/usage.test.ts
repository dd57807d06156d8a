/** What the command line refuses, how it says so, and its help. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { jsonOf, makeWorkplace, type Workplace } from './support.ts';

let workplace: Workplace;
beforeAll(async () => {
  workplace = await makeWorkplace();
  await mkdir(join(workplace.folder, 'taken'));
  await writeFile(join(workplace.folder, 'taken/run.json'), '{}');
  await writeFile(join(workplace.folder, 'weights.bin'), '');
});
afterAll(() => workplace.remove());

describe('a command line that cannot be used ends with 2 and says what was expected:', () => {
  const train = ['train', '--data', 'cifar10'];
  const cases: readonly (readonly [string, readonly string[], string])[] = [
    ['an unknown flag', [...train, '--epoch', '3'], "unknown option '--epoch'\n(Did you mean --epochs?)"],
    ['an unknown command', ['trian'], "unknown command 'trian'\n(Did you mean train?)"],
    [
      'no epochs',
      [...train, '--epochs', '0'],
      "option '--epochs <n>' argument '0' is invalid. Expected a whole number from 1 to 1000000.",
    ],
    [
      'a learning rate of zero',
      [...train, '--learning-rate', '0'],
      "option '--learning-rate <rate>' argument '0' is invalid. Expected a number above 0.",
    ],
    [
      'pictures that are too small',
      [...train, '--image-size', '16'],
      "option '--image-size <pixels>' argument '16' is invalid. Expected a whole number from 32 to 2048.",
    ],
    [
      'a batch size that is no number',
      [...train, '--batch-size', 'many'],
      "option '--batch-size <n>' argument 'many' is invalid. Expected a whole number from 1 to 65536.",
    ],
    [
      'a seed below zero',
      [...train, '--seed', '-1'],
      "option '--seed <n>' argument '-1' is invalid. Expected a whole number from 0 to 4294967295.",
    ],
    [
      'a limit that is empty',
      [...train, '--limit', ''],
      "option '--limit <n>' argument '' is invalid. Expected a whole number of at least 1.",
    ],
    [
      'a validation split of everything',
      [...train, '--validation-split', '1'],
      "option '--validation-split <share>' argument '1' is invalid. Expected a number between 0 and 1.",
    ],
    [
      'weights of another data set than those that there are',
      [...train, '--backbone', 'cifar_resnet', '--weights', 'imagenet'],
      '--weights imagenet: the published weights of cifar_resnet were trained on CIFAR-10. Expected cifar10, none, or a file.',
    ],
    [
      'a validation split of data that has validation pictures',
      [
        ...['train', '--data', 'emoji10', '--backbone', 'cifar_resnet', '--recipe', 'probe'],
        ...['--validation-split', '0.2'],
      ],
      'emoji10 has validation pictures of its own; leave out --validation-split.',
    ],
    [
      'a mirror for what comes with the package',
      ['start', '--mirror', '.'],
      "option '--mirror <dir>' argument '.' is invalid.",
    ],
    [
      'files to skip where there are none',
      ['start', '--skip-broken'],
      '--skip-broken and --mirror are for other pictures than emoji10, which comes with Graft.',
    ],
    [
      'a split of published pictures to look at',
      ['data', 'emoji10', '--validation-split', '0.2'],
      '--validation-split and --split-seed are for your own pictures, got emoji10.',
    ],
    [
      'an unknown data set',
      ['train', '--data', 'cifar9'],
      "option '--data <what>' argument 'cifar9' is invalid. There is no such file or folder. Expected cifar10, " +
        'cifar100, emoji10, or a folder or CSV file of your own pictures.\n(Did you mean cifar10?)',
    ],
    [
      'a mirror that is none',
      [...train, '--mirror', 'taken'],
      "option '--mirror <dir>' argument 'taken' is invalid. Expected a folder or an http(s) address with a manifest.json.",
    ],
    [
      'no data set',
      ['train'],
      'No pictures named: give --data cifar10, --data cifar100, --data emoji10 or --data FOLDER. For a quick first run: node',
    ],
    [
      'an unknown optimizer',
      [...train, '--optimizer', 'lion'],
      "option '--optimizer <name>' argument 'lion' is invalid. Allowed choices are sgd, rmsprop, adam, adamw.",
    ],
    [
      'a slip of the pen',
      [...train, '--optimizer', 'admw'],
      'Allowed choices are sgd, rmsprop, adam, adamw.\n(Did you mean adamw?)',
    ],
    [
      'data that is a file of another kind',
      ['train', '--data', 'weights.bin'],
      "option '--data <what>' argument 'weights.bin' is invalid. This is a file of another kind. Expected cifar10",
    ],
    [
      'options for own pictures beside published ones',
      [...train, '--skip-broken'],
      '--crop-to-aspect-ratio, --pad-to-aspect-ratio, --skip-broken and --split-seed are for your own pictures, got ' +
        '--data cifar10.',
    ],
    [
      'two ways to fit',
      ['train', '--data', '.', '--crop-to-aspect-ratio', '--pad-to-aspect-ratio'],
      'Give --crop-to-aspect-ratio or --pad-to-aspect-ratio, not both.',
    ],
    [
      'a contact sheet of an unknown kind',
      ['data', '.', '--contact-sheet', 'sheet.pdf'],
      "argument 'sheet.pdf' is invalid. Expected a file that ends in .html or .png.",
    ],
    [
      'data to look at that is not there',
      ['data', 'nowhere'],
      "command-argument value 'nowhere' is invalid for argument 'data'. There is no such file or folder. Expected " +
        'cifar10, cifar100, emoji10, or a folder or CSV file of your own pictures.',
    ],
    [
      'a preview of nothing',
      ['data', '.', '--preview', 'a.png', '--augment', 'none'],
      '--augment none changes nothing, so there is nothing to preview.',
    ],
    [
      'a head that is no head',
      [...train, '--head', 'gap,dense:0'],
      '--head gap,dense:0: cannot read "dense:0". Expected reference, pooled, linear, or a list of gap, gmp or ' +
        'flatten first, then any of standardize, bn, dropout:RATE and dense:UNITS (with ReLU).',
    ],
    ['a head without a beginning', [...train, '--head', 'linaer'], '--head linaer: "linaer" is no preset'],
    [
      'standardization of what trains',
      [...train, '--head', 'gap,bn,standardize'],
      '--head gap,bn,standardize: standardize has to come right after gap.',
    ],
    [
      'momentum where there is none',
      [...train, '--optimizer', 'adam', '--momentum', '0.9'],
      '--momentum is for sgd and rmsprop; adam has its own. Leave it out.',
    ],
    [
      'a warm-up without a schedule for it',
      [...train, '--schedule', 'constant', '--warmup-epochs', '1'],
      '--warmup-epochs is for --schedule cosine, got --schedule constant.',
    ],
    [
      'an unknown recipe',
      [...train, '--recipe', 'finetune'],
      "option '--recipe <name>' argument 'finetune' is invalid. Allowed choices are probe, last-block, fine-tune, " +
        'reference.\n(Did you mean fine-tune?)',
    ],
    [
      'nothing that thaws',
      [...train, '--recipe', 'probe', '--freeze-epochs', '1', '--schedule', 'constant'],
      '--freeze-epochs: nothing thaws after them. Give --unfreeze-from LAYER, or all.',
    ],
    [
      'averages of collected gradients',
      [...train, '--recipe', 'probe', '--ema', '--accumulate', '2'],
      '--ema does not go together with --accumulate; leave one out.',
    ],
    [
      'more views than there are',
      ['evaluate', '--model', 'x.h5', '--tta', '11'],
      "option '--tta <n>' argument '11' is invalid. Expected a whole number from 1 to 10.",
    ],
    [
      'freezing to the end',
      [...train, '--recipe', 'fine-tune', '--epochs', '3', '--freeze-epochs', '3'],
      '--freeze-epochs 3: expected fewer than the 3 epochs of the training.',
    ],
    [
      'a schedule beside those of two phases',
      [...train, '--recipe', 'fine-tune', '--schedule', 'cosine'],
      '--freeze-epochs comes with schedules of its own; leave out --schedule cosine.',
    ],
    [
      'a warm-up as long as the training',
      [...train, '--schedule', 'cosine', '--epochs', '2', '--warmup-epochs', '2'],
      '--warmup-epochs 2: expected fewer than the 2 epochs of the training.',
    ],
    [
      'a size without a unit',
      [...train, '--cache-limit', '20'],
      "option '--cache-limit <size>' argument '20' is invalid. Expected a size such as 500MB or 20GB.",
    ],
    [
      'a precision of what is not kept',
      [...train, '--cache', 'off', '--cache-precision', 'uint8'],
      '--cache-precision does nothing with --cache off; leave one of them out.',
    ],
    [
      'a limit for memory',
      [...train, '--cache', 'memory', '--cache-limit', '1GB'],
      '--cache-limit does nothing with --cache memory; leave one of them out.',
    ],
    [
      'a limit of nothing for gradients',
      [...train, '--clip-norm', '0'],
      "option '--clip-norm <norm>' argument '0' is invalid. Expected a number above 0.",
    ],
    [
      'weights that are not there',
      [...train, '--weights', 'nowhere.h5'],
      '--weights nowhere.h5: there is no such file. Expected imagenet, none, or a .h5, .keras or .safetensors file.',
    ],
    [
      'weights of an unknown kind',
      [...train, '--weights', 'weights.bin'],
      'weights.bin is empty; expected weights in a .h5, .keras or .safetensors file. The download or copy did',
    ],
    [
      'a backbone that comes near one',
      [...train, '--backbone', 'MobileNet-V2x'],
      'There is no backbone "MobileNet-V2x". Did you mean mobilenet_v2? Expected a name that ',
    ],
    [
      'a backbone like no other',
      ['summary', '--backbone', 'alexnet'],
      'There is no backbone "alexnet". Expected a name that ',
    ],
    [
      'a layer of another backbone',
      [...train, '--backbone', 'densenet121', '--unfreeze-from', 'conv5_block1_1'],
      'there is no such layer in densenet121. Expected one such as conv5_block1_1_conv',
    ],
    [
      'pictures too small for the backbone',
      [...train, '--backbone', 'inception_v3', '--image-size', '64'],
      'inception_v3 takes pictures of at least (75, 75, 3), got (64, 64, 3).',
    ],
    [
      'a layer that the backbone does not have',
      [...train, '--unfreeze-from', 'conv5_block1_conv'],
      '--unfreeze-from conv5_block1_conv: there is no such layer in resnet50. Expected one such as ' +
        'conv5_block1_1_conv, conv5_block1_2_conv, conv5_block1_0_conv, conv5_block1_3_conv.',
    ],
    [
      'a layer after the end of the backbone',
      [...train, '--backbone-output', 'conv4_block6_out', '--unfreeze-from', 'conv5_block1_1_conv'],
      'there is no such layer in resnet50 up to conv4_block6_out (--backbone-output).',
    ],
    [
      'a backbone that ends nowhere',
      [...train, '--backbone-output', 'conv4'],
      '--backbone-output conv4: there is no such layer in resnet50. Expected one such as',
    ],
    [
      'a folder that holds a run',
      [...train, '--out', 'taken'],
      '--out taken: this folder holds a run already. Name another one, remove it, or continue it with',
    ],
    [
      'a run that is none',
      ['train', '--resume', 'nowhere'],
      'nowhere is no run folder: it has no run.json. Expected a folder that graft train made.',
    ],
    [
      'other options beside --resume',
      ['train', '--resume', 'taken', '--epochs', '3', '--seed', '1'],
      "--resume goes on with the run's own options; leave out --epochs, --seed.",
    ],
    ['a slip where something is missing', ['evaluate', '--modle', 'a.h5'], '(Did you mean --model?)'],
    [
      'no model',
      ['evaluate'],
      '--model is missing. Expected a model (.keras, .h5, .onnx) or the folder of a run.',
    ],
    [
      'a model that is not there',
      ['evaluate', '--model', 'nowhere.h5'],
      '--model nowhere.h5: there is no such file. Expected a model (.keras, .h5, .onnx) or the folder of a run.',
    ],
    ['no picture', ['predict', '--model', 'nowhere.h5'], "missing required argument 'image'"],
    [
      'no model to summarize',
      ['summary'],
      'Say which model: either --model FILE (or a run), or --backbone with its options.',
    ],
  ];

  it.each(cases)('%s', async (_, args, text) => {
    const { code, stdout, stderr } = await workplace.run(args);
    expect(stderr).toMatch(/^error: /);
    expect(stderr).toContain(text);
    expect(stderr).toContain(' --help\n');
    expect(stderr).not.toMatch(/^\s+at /m);
    expect(stdout).toBe('');
    expect(code).toBe(2);
  });
});

it('a command that needs another word shows its help', async () => {
  const { code, stderr } = await workplace.run(['cache']);
  expect(stderr).toMatch(/^Usage: graft cache /);
  expect(stderr).not.toContain('error');
  expect(code).toBe(2);
});

it('a record that is damaged is not the fault of the command line: 1', async () => {
  const { code, stderr } = await workplace.run(['train', '--resume', 'taken']);
  expect(stderr).toContain('taken/run.json: format is missing');
  expect(code).toBe(1);
});

it('with --json an error is an object too', async () => {
  const finished = await workplace.run(['train', '--json', '--head', 'x', '--data', 'cifar10']);
  expect(jsonOf(finished)).toMatchObject({
    error: { code: 'argument', message: expect.stringContaining('--head x: "x" is no preset') },
    exitCode: 2,
  });
});

it('a stack is shown on demand only', async () => {
  const { stderr } = await workplace.run(['summary'], { GRAFT_DEBUG: '1' });
  expect(stderr).toMatch(/^\s+at .*summary\.js/m);
});

it('a place without data or network says what to do', async () => {
  const nowhere = { GRAFT_MIRROR: 'http://127.0.0.1:9' };
  const { code, stderr } = await workplace.run(['start', '--data', 'cifar10'], nowhere);
  expect(stderr).toContain('error: Fetching http://127.0.0.1:9/manifest.json failed');
  expect(stderr).toContain('The first run needs CIFAR-10 (170 MB)');
  expect(stderr).toContain('graft start without --data needs no network');
  expect(stderr).toContain('--mirror or GRAFT_MIRROR');
  expect(code).toBe(1);
});

describe('help', () => {
  it.each([[[]], [['--help']], [['help']]])(
    'of the program names the commands and exit codes: %j',
    async (args) => {
      const { code, stdout, stderr } = await workplace.run(args);
      expect(stderr).toBe('');
      for (const name of ['start', 'data', 'train', 'evaluate', 'predict', 'summary'])
        expect(stdout).toContain(`\n  ${name} `);
      expect(stdout).toContain('Exit codes:\n  0    done\n  1    it went wrong\n  2    ');
      expect(code).toBe(0);
    },
  );

  it.each(['start', 'data', 'train', 'evaluate', 'predict', 'export', 'summary', 'sweep', 'advise'])(
    'of %s has examples',
    async (name) => {
      const { code, stdout } = await workplace.run([name, '--help']);
      expect(stdout).toContain('Examples:\n');
      expect(stdout).toContain(`$ graft ${name}`);
      expect(stdout).toContain('--json');
      expect(stdout.split('\n').filter((line) => line.length > 110)).toEqual([]);
      expect(code).toBe(0);
    },
  );
});

it('--version prints the version of the package', async () => {
  const { code, stdout } = await workplace.run(['--version']);
  expect(stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  expect(code).toBe(0);
});
