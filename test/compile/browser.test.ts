/** Exported models in a browser: onnxruntime-web beside `model.predict`. `npm ci --prefix scripts/browser` installs it. */
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import * as applications from '../../src/applications/index.ts';
import { Random } from '../../src/core/random.ts';
import { tensor } from '../../src/core/tensor.ts';
import * as layers from '../../src/layers/index.ts';
import { sequential } from '../../src/training/build.ts';
import type { Model } from '../../src/training/model.ts';
import { executablePath } from '../support/browser.ts';

const library = fileURLToPath(
  new URL('../../scripts/browser/node_modules/onnxruntime-web/dist', import.meta.url),
);
const mirror = process.env['GRAFT_MIRROR'] ?? '';
const foreign = join(mirror, 'mobilenetv2-imagenet.f16.onnx');
const missing = executablePath === undefined || !existsSync(library);

const types: Readonly<Record<string, string>> = {
  '.html': 'text/html',
  '.mjs': 'text/javascript',
  '.wasm': 'application/wasm',
};

const page = `<!doctype html><script type="module">
import * as ort from './ort.wasm.min.mjs';
ort.env.wasm.numThreads = 1;
globalThis.predict = async (file, bytes, shape) => {
  const session = await ort.InferenceSession.create(file);
  const { output } = await session.run({ image: new ort.Tensor('uint8', Uint8Array.from(bytes), shape) });
  return { dims: output.dims, values: [...output.data] };
};
</script>`;

/** Serves the page, the library and exported models. */
function serve(folder: string): Server {
  return createServer(async (request, response) => {
    const name = basename(request.url ?? '');
    const path = join(name.endsWith('.onnx') ? folder : library, name);
    const body = name === 'page.html' ? page : await readFile(path).catch(() => null);
    response.writeHead(body === null ? 404 : 200, {
      'Content-Type': types[extname(name)] ?? 'application/octet-stream',
    });
    response.end(body);
  });
}

interface Output {
  readonly dims: readonly number[];
  readonly values: readonly number[];
}

describe.skipIf(missing)('an exported model in a browser', () => {
  let folder: string;
  let server: Server;
  let browser: Browser;
  let tab: Page;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'graft-browser-'));
    server = serve(folder);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    browser = await chromium.launch({ executablePath: executablePath!, args: ['--no-sandbox'] });
    tab = await browser.newPage();
    await tab.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/page.html`);
  });
  afterAll(async () => {
    await browser.close();
    server.close();
    await rm(folder, { recursive: true });
  });

  async function inBrowser(file: string, bytes: Uint8Array, shape: readonly number[]): Promise<Output> {
    await tab.waitForFunction('globalThis.predict');
    return tab.evaluate(`predict(${JSON.stringify(file)}, [${bytes}], [${shape}])`);
  }

  async function compare(name: string, model: Model, shape: readonly number[]): Promise<void> {
    const random = new Random(1, name);
    const bytes = Uint8Array.from({ length: shape.reduce((size, dim) => size * dim) }, () =>
      random.below(256),
    );
    await model.export(join(folder, `${name}.onnx`));
    const expected = await model.predict(tensor('uint8', shape, bytes));
    const found = await inBrowser(`${name}.onnx`, bytes, shape);
    await model.close();
    expect(found.dims).toEqual(expected.shape);
    const difference = Math.max(...expected.data.map((value, i) => Math.abs(value - found.values[i]!)));
    expect(difference).toBeLessThan(1e-5);
    // Not the same for all: the pictures went in.
    expect(Math.max(...expected.data) - Math.min(...expected.data)).toBeGreaterThan(1e-2);
  }

  it('equals model.predict with the weights of the package, for any batch', async () => {
    const backbone = await applications.cifarResnet();
    for (const batch of [1, 3]) {
      const model = sequential([
        layers.input({ shape: [20, 24, 3] }),
        applications.preprocessing(applications.cifarResnet.record.preprocessing!),
        layers.resizing({ height: 32, width: 32 }),
        backbone,
      ]);
      model.compile({ loss: 'sparse_categorical_crossentropy', threads: 1 });
      await compare(`cifar${batch}`, model, [batch, 20, 24, 3]);
    }
  });

  it.each([
    ['densenet121', applications.densenet121],
    ['convnextTiny', applications.convnextTiny],
  ] as const)('equals model.predict for %s from random weights', async (name, application) => {
    const backbone = application.structure({
      weights: null,
      includeTop: false,
      inputShape: [64, 64, 3],
      pooling: 'avg',
    });
    const model = sequential([
      layers.input({ shape: [32, 32, 3] }),
      layers.resizing({ height: 64, width: 64 }),
      backbone,
      layers.dense({ units: 10, activation: 'softmax', kernelInitializer: 'glorot_uniform' }),
    ]);
    model.compile({ loss: 'sparse_categorical_crossentropy', threads: 1 });
    await compare(name, model, [2, 32, 32, 3]);
  });

  it.skipIf(!existsSync(foreign))(
    'equals model.predict behind a foreign ONNX file of float16 weights',
    async () => {
      const backbone = await applications.fromOnnx(foreign);
      const model = sequential([
        layers.input({ shape: [32, 32, 3] }),
        layers.resizing({ height: 224, width: 224 }),
        backbone,
        layers.globalAveragePooling2d(),
        layers.dense({ units: 10, activation: 'softmax' }),
      ]);
      model.compile({ loss: 'sparse_categorical_crossentropy', threads: 1 });
      await compare('foreign', model, [2, 32, 32, 3]);
    },
  );
});
