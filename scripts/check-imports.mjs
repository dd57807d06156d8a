// Imports point one way: each folder of src/ may import only from those listed for it. No cycles between files.
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';

const allowed = {
  core: [],
  graph: ['core'],
  onnx: ['core', 'graph'],
  quantize: ['core', 'graph', 'onnx'],
  runtime: ['core', 'onnx'],
  data: ['core'],
  features: ['core', 'data'],
  layers: ['core', 'graph', 'onnx'],
  losses: ['core', 'graph'],
  metrics: ['core', 'graph', 'losses'],
  optimizers: ['core', 'graph'],
  models: ['core', 'graph', 'layers'],
  compile: [...['core', 'graph', 'onnx', 'quantize', 'layers', 'losses', 'metrics', 'optimizers', 'models']],
  saving: ['core', 'layers', 'losses', 'metrics', 'optimizers', 'models'],
  training: [
    ...['core', 'runtime', 'data', 'features', 'layers', 'losses', 'metrics', 'optimizers'],
    ...['models', 'compile', 'saving', 'quantize'],
  ],
  applications: [...['core', 'graph', 'onnx', 'runtime', 'data', 'layers', 'models', 'saving', 'training']],
  report: ['core', 'data'],
  search: ['core', 'report'],
  cli: [
    ...['core', 'data', 'report', 'search', 'layers', 'losses', 'metrics', 'optimizers', 'models', 'runtime'],
    ...['saving', 'training', 'applications', 'features', 'quantize'],
  ],
};

const root = resolve(import.meta.dirname, '../src');
const files = readdirSync(root, { recursive: true })
  .filter((file) => file.endsWith('.ts'))
  .map((file) => join(root, file));
const problems = [];
const imports = new Map();

for (const file of files) {
  const folder = relative(root, file).split('/')[0];
  const source = readFileSync(file, 'utf8');
  const runtimeImports = [];
  for (const [statement, specifier] of source.matchAll(/(?:import|export)\s[^;]*?from\s+'(\.[^']+)'/g)) {
    const target = resolve(dirname(file), specifier);
    const [other] = relative(root, target).split('/');
    // Types vanish when the code is built, so only values can make a cycle.
    if (!/^(import|export)\s+type\s/.test(statement)) runtimeImports.push(target);
    if (folder.endsWith('.ts') || other === folder) continue;
    if (!(folder in allowed)) problems.push(`src/${folder} is not in the table of scripts/check-imports.mjs`);
    else if (!allowed[folder].includes(other)) {
      problems.push(
        `${relative(root, file)} imports from ${other}/; ${folder}/ may use ${allowed[folder].join(', ')}`,
      );
    }
  }
  imports.set(file, runtimeImports);
}

const state = new Map();
function visit(file, path) {
  if (state.get(file) === 'done') return;
  if (state.get(file) === 'open') {
    const cycle = [...path.slice(path.indexOf(file)), file].map((part) => relative(root, part));
    problems.push(`cycle: ${cycle.join(' -> ')}`);
    return;
  }
  state.set(file, 'open');
  for (const next of imports.get(file) ?? []) visit(next, [...path, file]);
  state.set(file, 'done');
}
for (const file of files) visit(file, []);

for (const problem of new Set(problems)) console.error(problem);
console.log(
  `${files.length} files, ${problems.length === 0 ? 'imports point one way' : `${problems.length} problems`}`,
);
process.exitCode = problems.length === 0 ? 0 : 1;
