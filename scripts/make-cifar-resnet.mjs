// Writes assets/cifar_resnet.cifar10.safetensors, float16 with the classifier, from the model of a finished run.
// docs/cifar_resnet.md has the command of that run. Build first: npm run build
// Use: node scripts/make-cifar-resnet.mjs runs/NAME/cifar10.h5 [OTHER_TARGET]
import { resolve } from 'node:path';
import { toFloat16 } from '../dist/core/float16.js';
import { graftVersion } from '../dist/core/version.node.js';
import { applications, models, tensor } from '../dist/index.js';
import { writeSafetensors } from '../dist/saving/safetensors.node.js';

const [source, target = resolve(import.meta.dirname, '../assets/cifar_resnet.cifar10.safetensors')] =
  process.argv.slice(2);
if (source === undefined) throw new Error('Expected the model of a run: runs/NAME/cifar10.h5');

const trained = await models.load(source);
const network = applications.cifarResnet.structure({ weights: null });
// Backbone and softmax layer of the run are the application's, in the same order.
network.setWeights(trained.getWeights());

const tensors = network.variables.map(({ path, shape, values }) => {
  const half = tensor('float16', shape);
  half.data.set(toFloat16(values));
  return { name: path, tensor: half };
});
await writeSafetensors(target, tensors, { format: 'keras', writer: `Graft ${graftVersion}` });
console.log(`${tensors.length} tensors: ${target}`);
