/** A whole report of made-up predictions: what is in the file, and what a browser makes of it. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Browser, chromium } from 'playwright-core';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { tensor } from '../../src/core/tensor.ts';
import { fromTensors } from '../../src/data/dataset.ts';
import { type RunReport, renderRunReport } from '../../src/report/run_report.ts';
import { heatMaps, thumbnails } from '../../src/report/thumbnails.node.ts';
import { browsers, executablePath } from '../support/browser.ts';

/** A class that would end the script, and one that would be an element. */
const classNames = ['</script><script>alert(1)</script>', '<img src=x onerror=alert(2)>'];
const labels = Int32Array.of(0, 0, 0, 1, 1);
// Taken for 0, 1, 1, 1, 0: two of class 0 are taken for class 1, the last one more surely.
const probabilities = Float32Array.of(0.9, 0.1, 0.4, 0.6, 0.2, 0.8, 0.3, 0.7, 0.6, 0.4);
const pictures = fromTensors(tensor('uint8', [5, 8, 8, 3]), tensor('int32', [5], labels));

const report: RunReport = {
  title: 'small & <odd>',
  predictions: { labels, probabilities, classes: 2 },
  saliency: {
    layer: 'conv_<last>',
    maps: new Map([[2, { height: 1, width: 2, data: Float32Array.of(0, 1) }]]),
  },
  ...{ pictures, names: ['a.png', 'b.png', 'c.png', 'd"<.png', 'e.png'], classNames },
  ...{ what: 'test pictures', choseEpoch: false, bestEpoch: 2 },
  numbers: [{ what: 'training <all>', accuracy: 0.6, loss: 0.8, pictures: 10 }],
  history: [
    { epoch: 0, loss: 1, accuracy: 0.5, valLoss: 1.1, valAccuracy: 0.4, learningRate: 0.01 },
    { epoch: 1, loss: 0.8, accuracy: 0.6, valLoss: 0.9, valAccuracy: 0.6, learningRate: 0.001 },
  ],
  data: {
    splits: [
      { name: 'train', counts: [1200, 7] },
      { name: 'test', counts: [3, 2] },
    ],
    facts: [['Formats', '5 <png>']],
    notes: ['2 pictures in more than one class'],
    skipped: [{ name: 'f"<.png', reason: 'the file is empty.' }],
  },
  plan: [['Data', '<pets>']],
  beside: null,
  phases: [{ name: 'training', seconds: 1.25, memory: 20e6 }],
  ...{ seconds: 2, command: "graft train --data 'my <pets>'", versions: { graft: '1' } },
};

let html: string;
beforeAll(async () => {
  html = await renderRunReport(report);
});

describe('the report of a run', () => {
  it('says what came out, with the interval', () => {
    // Two of five, z² = 3.8415: (0.4 + z²/10 ± z·√(0.24/5 + z²/100)) / (1 + z²/5) = 0.4434 ± 0.3258.
    expect(html).toContain('<p class="big">40.0 %</p>');
    expect(html).toContain('95 % interval 11.8 % … 76.9 %');
  });

  it('gives every part of the data its interval', () => {
    // Six of ten: (0.6 + z²/20 ± z·√(0.24/10 + z²/400)) / (1 + z²/10) = 0.5722 ± 0.2596.
    expect(html).toContain('training &lt;all&gt;</th><td>60.0 %</td><td>31.3 … 83.2 %</td><td>0.8000</td>');
  });

  it('counts the pictures of each class and split, and names what was left out', () => {
    expect(html).toMatch(/&lt;script&gt;[^<]*<\/th><td>1,200<\/td><td>3<\/td>/);
    expect(html).toContain('in all</th><td>1,207</td><td>5</td>');
    expect(html).toContain(
      '<p>One file was left out:</p><ul><li>f&quot;&lt;.png: the file is empty.</li></ul>',
    );
    expect(html).toContain('<p>Note: 2 pictures in more than one class.</p>');
    expect(html).toContain('5 &lt;png&gt;');
  });

  it('escapes names of classes and files, options and commands', () => {
    expect(html).not.toContain('<script>alert');
    expect(html).not.toContain('<img src=x');
    expect(html).not.toContain('<pets>');
    expect(html).toContain('<title>small &amp; &lt;odd&gt;</title>');
    expect(html).toContain('graft train --data &#39;my &lt;pets&gt;&#39;');
  });

  it('explains mistakes: left, where the map is 0, nearly black over a black picture; right, where it is 1, bright', async () => {
    expect(html).toContain('(Grad-CAM of conv_&lt;last&gt;)');
    const [drawn] = [...(await heatMaps(pictures, report.saliency!.maps)).values()];
    const bytes = Buffer.from(drawn!.split(',')[1]!, 'base64');
    const { data, info } = await sharp(bytes).raw().toBuffer({ resolveWithObject: true });
    expect([info.width, info.height]).toEqual([96, 96]);
    const [left, right] = [data.subarray(0, 3), data.subarray(95 * 3, 96 * 3)];
    // 0.45 of (0, 0, 4), and 0.7 of (252, 255, 164), within what WebP loses.
    expect(Math.max(...left)).toBeLessThan(12);
    for (const [i, value] of [176, 179, 115].entries()) expect(Math.abs(right[i]! - value)).toBeLessThan(12);
  });

  it('embeds no more pictures than fit', async () => {
    const all = await thumbnails(pictures, [3, 3, 1, 0], 1e6);
    expect([...all.keys()]).toEqual([3, 1, 0]);
    const size = all.get(3)!.length;
    expect([...(await thumbnails(pictures, [3, 1, 0], 2 * size)).keys()]).toEqual([3, 1]);
  });
});

describe.skipIf(executablePath === undefined)(`in a browser (${browsers.join(' or ')})`, () => {
  let folder: string;
  let browser: Browser;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'graft-report-'));
    await writeFile(join(folder, 'report.html'), html);
    browser = await chromium.launch({ executablePath: executablePath!, args: ['--no-sandbox'] });
  });
  afterAll(async () => {
    await browser.close();
    await rm(folder, { recursive: true });
  });

  it.each(['light', 'dark'] as const)(
    'shows the pictures of a cell, silently and without a request: %s',
    async (colorScheme) => {
      const page = await browser.newPage({ colorScheme, viewport: { width: 390, height: 800 } });
      const heard: string[] = [];
      page.on('console', (message) => heard.push(message.text()));
      page.on('pageerror', (error) => heard.push(error.message));
      const address = pathToFileURL(join(folder, 'report.html')).href;
      page.on('request', (request) => {
        if (request.url() !== address && !request.url().startsWith('data:')) heard.push(request.url());
      });
      await page.goto(address);
      await page.click('button[data-group="0-1"]');
      expect(await page.textContent('#shown h3')).toBe(`${classNames[0]} taken for ${classNames[1]}: 2`);
      const captions = await page.locator('#shown figcaption').allTextContents();
      expect(captions.map((caption) => caption.split(':')[0])).toEqual(['c.png', 'b.png']);
      // What spoke for the class is shown where it is explained: beside c.png among the worst mistakes.
      expect(await page.locator('#shown img').count()).toBe(2);
      expect(await page.locator('[data-shows=heat] img').count()).toBe(4);
      // Strings are evaluated in the page, whose types this project does not have.
      expect(await page.evaluate("document.querySelector('#shown img').naturalWidth")).toBe(8);
      const ground = 'getComputedStyle(document.body).backgroundColor';
      const [light, dark] = ['rgb(255, 255, 255)', 'rgb(22, 24, 28)'];
      expect(await page.evaluate(ground)).toBe(colorScheme === 'light' ? light : dark);
      await page.click('#theme');
      expect(await page.evaluate(ground)).toBe(colorScheme === 'light' ? dark : light);
      expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(390);
      expect(heard).toEqual([]);
      await page.close();
    },
  );
});
