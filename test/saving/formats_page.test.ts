/** The page that errors point to names everything that is read. */
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { layerTypes } from '../../src/layers/index.ts';
import { operationNames, tensorFlowNames } from '../../src/layers/operations.ts';

const page = readFileSync(new URL('../../docs/formats.md', import.meta.url), 'utf8');

it.each([
  ['layer', Object.keys(layerTypes)],
  ['operation of Keras 3', operationNames],
  ['function of TensorFlow', tensorFlowNames],
])('docs/formats.md lists every %s', (_, names) => {
  expect(names.filter((name) => !page.includes(`\`${name}\``))).toEqual([]);
});
