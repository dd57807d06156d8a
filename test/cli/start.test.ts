/** `graft start` as somebody meets it who has nothing but the package: no network, no cache, no mirror. */
import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { jsonOf, makeWorkplace, type Workplace } from './support.ts';

/** Every connection is an error. */
const offline =
  'import { Socket } from "node:net"; ' +
  'Socket.prototype.connect = () => { throw new Error("a connection was tried"); };';
const noNetwork = { NODE_OPTIONS: `--import data:text/javascript,${encodeURIComponent(offline)}` };

let workplace: Workplace;
beforeAll(async () => {
  workplace = await makeWorkplace(noNetwork);
});
afterAll(() => workplace.remove());

describe('graft start', () => {
  it('trains from scratch and by transfer without a network, and compares them', async () => {
    const args = ['start', '--limit', '160', '--threads', '1', '--out', 'runs/first', '--json'];
    const started = await workplace.run(args);
    const { code, stderr } = started;
    expect(stderr).not.toContain('error');
    expect(code).toBe(0);
    expect(stderr).toMatch(/^Graft shows what transfer learning is good for\./);
    expect(stderr).toContain(
      '\nDrawings: Google, Microsoft, Mozilla, Streamline, EmojiOne, Twitter, OpenMoji\n(',
    );
    expect(stderr).toMatch(/\nRight answers {2,}from scratch {2,}transfer\n/);
    expect(stderr).toMatch(
      /\n40 pictures drawn by EmojiOne, after each epoch\n {2}epoch 1 +━*─* +[\d.]+ % +━*─* +[\d.]+ %\n/,
    );
    expect(stderr).toMatch(/\ntest picture 0 {2}\w+ [\d.]+ % /);

    const [run, scratch] = [
      await workplace.record('runs/first'),
      await workplace.record('runs/first/from-scratch'),
    ];
    // The same but for the weights that it begins with, and nothing of the test designers chose the epoch.
    expect({ ...scratch.config, weights: 'cifar10' }).toEqual(run.config);
    expect(run.data).toMatchObject({ trainingImages: 160, validationImages: 40, testImages: 40 });
    expect(run.data.validatesOn).toBe('validation');
    expect(run.beside).toMatchObject({
      names: ['from scratch', 'transfer'],
      accuracy: scratch.metrics!.testAccuracy,
    });
    expect(run.beside!.history).toHaveLength(scratch.config.epochs);
    expect(jsonOf(started)).toMatchObject({ command: 'start', status: 'finished', run: 'runs/first' });
    // Even 160 pictures are enough for the network that knows photographs; from scratch they are not.
    expect(run.metrics!.testAccuracy).toBeGreaterThan(scratch.metrics!.testAccuracy! + 0.2);
  });

  it('reports both side by side', async () => {
    const page = await readFile(workplace.path('runs/first/report.html'), 'utf8');
    const [, part] = /<h2[^>]*>Side by side<\/h2>(.*?)<\/section>/s.exec(page) ?? [];
    const { metrics, beside } = await workplace.record('runs/first');
    expect(part).toContain('from scratch');
    expect(part).toContain(`${(100 * beside!.accuracy).toFixed(1)} %`);
    expect(part).toContain(`${(100 * metrics!.testAccuracy!).toFixed(1)} %`);
  });

  it('its model is used like any other, on the same pictures', async () => {
    const { code, stdout } = await workplace.run([
      'evaluate',
      '--model',
      'runs/first',
      '--limit',
      '40',
      '-q',
    ]);
    const { metrics } = await workplace.record('runs/first');
    expect(stdout).toContain(`${(100 * metrics!.testAccuracy!).toFixed(1)} % of 40 test pictures of emoji10`);
    expect(code).toBe(0);
  });

  it('graft data says whose drawings they are', async () => {
    const { code, stdout } = await workplace.run(['data', 'emoji10', '--contact-sheet', 'sheet.html']);
    expect(stdout).toContain('emoji10: 5,000 pictures of 32x32 pixels, 10 classes\n');
    expect(stdout).toMatch(/\nairplane +320 +80 +100\n/);
    expect(stdout).toMatch(/\nOpenMoji +OpenMoji +test +\d+ drawings +CC-BY-SA-4\.0\n/);
    const page = await readFile(workplace.path('sheet.html'), 'utf8');
    expect(page).toContain('<h2>emoji10/test: frog (100)</h2>');
    expect([...page.matchAll(/<img /g)]).toHaveLength(3 * 10 * 10);
    expect(code).toBe(0);
  });
});
