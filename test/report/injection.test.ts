/** Records may come from strangers: whatever they say is text on a page, and a page runs nothing but its own script. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Browser, chromium } from 'playwright-core';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeContactSheet } from '../../src/cli/contact_sheet.ts';
import { runRecord } from '../../src/cli/record_schema.ts';
import { checked } from '../../src/core/checked.ts';
import { tensor } from '../../src/core/tensor.ts';
import { fromTensors } from '../../src/data/dataset.ts';
import { type ComparedRun, renderComparison } from '../../src/report/compare.ts';
import { Html, html, htmlTable, imageUri } from '../../src/report/html.ts';
import { renderLearningRates } from '../../src/report/learning_rates.ts';
import { type RunReport, renderRunReport } from '../../src/report/run_report.ts';
import { browsers, executablePath } from '../support/browser.ts';

const script = `"><script>document.title='ran'</script>`;
const image = `'"><img src=x onerror="document.title='ran'">`;
const payload = `</script>${script}${image}<style>body{display:none}</style>`;

/** A number that is markup wherever it is printed. */
class Trojan extends Number {
  override toString() {
    return payload;
  }
  override toFixed() {
    return payload;
  }
  override toExponential() {
    return payload;
  }
  override toLocaleString() {
    return payload;
  }
  [Symbol.toPrimitive](hint: string) {
    return hint === 'string' ? payload : this.valueOf();
  }
}

/** The same with every text a payload, and every number one that prints a payload. */
function poisoned<T>(value: T): T {
  if (typeof value === 'string') return `${value}${payload}` as T;
  if (typeof value === 'number') return new Trojan(value) as T;
  if (Array.isArray(value)) return value.map(poisoned) as T;
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, poisoned(inner)])) as T;
}

const labels = Int32Array.of(0, 0, 0, 1, 1);
const probabilities = Float32Array.of(0.9, 0.1, 0.4, 0.6, 0.2, 0.8, 0.3, 0.7, 0.6, 0.4);
const predictions = { labels, probabilities, classes: 2 };
const pictures = fromTensors(tensor('uint8', [5, 8, 8, 3]), tensor('int32', [5], labels));
const history = [
  { epoch: 0, loss: 1, accuracy: 0.5, valLoss: 1.1, valAccuracy: 0.4, learningRate: 0.01 },
  { epoch: 1, loss: 0.8, accuracy: 0.6, valLoss: 0.9, valAccuracy: 0.6, learningRate: 0.001 },
];

/** All that comes out of a record. */
const recorded = {
  ...{
    title: 'ResNet50',
    names: ['a', 'b', 'c', 'd', 'e'],
    classNames: ['cat', 'dog'],
    what: 'test pictures',
  },
  beside: { names: ['from scratch', 'transfer'] as const, history, accuracy: 0.4, seconds: 3 },
  numbers: [{ what: 'training', accuracy: 0.6, loss: 0.8, pictures: 10 }],
  ...{ choseEpoch: true, bestEpoch: 2, seconds: 2, command: 'graft train', versions: { graft: '1' } },
  data: {
    splits: [{ name: 'train', counts: [1200, 7] }],
    facts: [['Formats', 'png'] as const],
    notes: ['a note'],
    skipped: [{ name: 'f.png', reason: 'empty' }],
  },
  plan: [['Data', 'pets'] as const],
  phases: [{ name: 'training', seconds: 1.25, memory: 20e6 }],
};

const report: RunReport = {
  ...poisoned(recorded),
  ...{ predictions, pictures, history },
  saliency: { layer: payload, maps: new Map([[2, { height: 1, width: 2, data: Float32Array.of(0, 1) }]]) },
};

const compared = (name: string): ComparedRun => ({
  ...poisoned({ name, options: { head: name }, bestEpoch: 1, seconds: 3, trainable: 7 }),
  ...{ predictions, history },
});

const pages: Record<string, string> = {};
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'graft-injection-'));
  pages['report'] = await renderRunReport(report);
  pages['compare'] = await renderComparison({
    ...{ runs: [compared('a'), compared('b')], samePictures: true, pictures, names: [payload] },
    classNames: [payload, payload],
  });
  const rates = { learningRates: [1e-3, 1e-2, 1e-1], losses: [2, 1, 3], smoothedLosses: [2, 1.5, 2] };
  const test = { ...rates, suggestions: { [payload]: 0.01 } };
  pages['lr-find'] = renderLearningRates(payload, test, payload);
  const sheet = join(folder, 'sheet.html');
  const thumbnail = await sharp({ create: { width: 8, height: 8, channels: 3, background: 'red' } })
    .png()
    .toBuffer();
  await writeContactSheet(sheet, payload, [
    { title: payload, pictures: [{ name: payload, image: thumbnail }] },
  ]);
  pages['sheet'] = await readFile(sheet, 'utf8');
  for (const [name, page] of Object.entries(pages)) await writeFile(join(folder, `${name}.html`), page);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const all = ['report', 'compare', 'lr-find', 'sheet'];

describe('markup', () => {
  it('escapes all that is put into it: texts, numbers, lists, and what only looks like markup', () => {
    expect(String(html`<b title="${'"<&>\''}">${[1, ' ', html`<i>${'<'}</i>`]}</b>`)).toBe(
      '<b title="&quot;&lt;&amp;&gt;&#39;">1 <i>&lt;</i></b>',
    );
    const forged = Object.assign(Object.create(null) as Html, { toString: () => '<b>' });
    expect(String(html`${forged}${new Trojan(1) as unknown as number}`)).not.toMatch(/<(b|script|img)/);
    expect(() => String(Object.create(Html.prototype))).toThrow(TypeError);
    expect(String(htmlTable(['<'], [['<', '>']]))).toContain('<th>&lt;</th>');
  });

  it('takes images that lie in the page, and no other address', () => {
    expect(imageUri('data:image/png;base64,AAAA')).toBe('data:image/png;base64,AAAA');
    for (const uri of [
      'javascript:alert(1)',
      'http://a/b.png',
      'data:image/svg+xml;base64,AA',
      'data:image/png;base64,A"A',
    ])
      expect(() => imageUri(uri), uri).toThrow('A page holds its images itself');
  });
});

describe('a record', () => {
  it('of another type than a number where a number belongs does not come as far as a page', async () => {
    const record = JSON.parse(
      await readFile(new URL('../cli/fixtures/run/run.json', import.meta.url), 'utf8'),
    ) as object;
    const numbers: string[] = [];
    const visit = (value: unknown, path: readonly string[]) => {
      if (typeof value === 'object' && value !== null) {
        for (const [key, inner] of Object.entries(value)) visit(inner, [...path, key]);
      } else if (typeof value === 'number') numbers.push(path.join('.'));
    };
    visit(record, []);
    expect(numbers.length).toBeGreaterThan(60);
    for (const place of numbers) {
      const copy = structuredClone(record) as Record<string, unknown>;
      const keys = place.split('.');
      const container = keys.slice(0, -1).reduce((at, key) => at[key] as Record<string, unknown>, copy);
      container[keys.at(-1)!] = payload;
      expect(() => checked(runRecord, copy, 'run.json', 'file'), place).toThrow('run.json');
    }
  });
});

describe('a page', () => {
  it.each(all)(
    'holds no markup of others, and its policy allows its own style and script only: %s',
    (name) => {
      const page = pages[name]!;
      expect(page).not.toContain("<script>document.title='ran'");
      expect(page).not.toMatch(/<img src=x/);
      expect(page).not.toMatch(/ (style|on\w+)="/);
      const [, policy] = /Content-Security-Policy" content="([^"]*)"/.exec(page)!;
      expect(policy).toMatch(/^default-src 'none'; img-src data:; style-src 'sha256-[\w+/=]{44}';/);
      expect(policy).not.toContain('unsafe');
    },
  );
});

describe.skipIf(executablePath === undefined)(`in a browser (${browsers.join(' or ')})`, () => {
  let browser: Browser;
  beforeAll(async () => {
    browser = await chromium.launch({ executablePath: executablePath!, args: ['--no-sandbox'] });
  });
  afterAll(() => browser.close());

  /** The page, and what was heard of it: messages, errors, requests. */
  async function open(path: string) {
    const page = await browser.newPage({ viewport: { width: 900, height: 900 } });
    const heard: string[] = [];
    page.on('console', (message) => heard.push(message.text()));
    page.on('pageerror', (error) => heard.push(error.message));
    const address = pathToFileURL(path).href;
    page.on('request', (request) => {
      if (request.url() !== address && !request.url().startsWith('data:')) heard.push(request.url());
    });
    await page.goto(address);
    return { page, heard };
  }

  it.each(all)(
    'nothing of others runs, loads or hides the page, and its own style is there: %s',
    async (name) => {
      const { page, heard } = await open(join(folder, `${name}.html`));
      expect(await page.title()).not.toBe('ran');
      expect(await page.locator('body').isVisible()).toBe(true);
      expect(await page.locator('img[src=x]').count()).toBe(0);
      expect(await page.evaluate("getComputedStyle(document.querySelector('h1')).fontSize")).toBe('21px');
      expect(heard).toEqual([]);
      await page.close();
    },
  );

  it('the report still works: a cell shows its pictures, with their names as they are', async () => {
    const { page, heard } = await open(join(folder, 'report.html'));
    await page.click('button[data-group="0-1"]');
    expect(await page.textContent('#shown h3')).toBe(`cat${payload} taken for dog${payload}: 2`);
    expect(await page.locator('#shown img').count()).toBe(2);
    expect(await page.title()).not.toBe('ran');
    const cell = 'getComputedStyle(document.querySelector(\'button[data-group="0-1"]\')).backgroundColor';
    expect(await page.evaluate(cell), 'two of three are wrong: a shade').not.toBe('rgba(0, 0, 0, 0)');
    expect(await page.locator('svg text').first().isVisible()).toBe(true);
    expect(heard).toEqual([]);
    await page.close();
  });

  it.each(all)('if markup came through all the same, the policy would stop it: %s', async (name) => {
    const path = join(folder, `broken-${name}.html`);
    await writeFile(
      path,
      pages[name]!.replace('<h1>', `${script}${image}<p style="position:fixed">x</p><h1>`),
    );
    const { page, heard } = await open(path);
    await page.waitForTimeout(200);
    expect(await page.title()).not.toBe('ran');
    expect(heard.join('\n')).toMatch(/Content Security Policy/);
    await page.close();
  });
});
