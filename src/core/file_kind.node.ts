/**
 * What a file is, by its first bytes rather than its name, and what to do with one that Graft does not read. Nothing
 * is unpacked or executed: of a zip only the list of names is read, of protobuf only the numbers of its fields.
 */
import { readdir, stat } from 'node:fs/promises';
import { basename } from 'node:path';
import { openPromise } from 'yauzl';
import { fail } from './errors.ts';
import { type RegularFile, withRegularFile } from './regular_file.node.ts';

/** Kinds of files that some part of Graft reads. */
export type ReadableKind = 'kerasArchive' | 'hdf5' | 'onnx' | 'safetensors';

/** A file that Graft reads nowhere, and what its owner can do. */
interface Stranger {
  /** `a TensorFlow Lite model`: completes "FILE is …". */
  readonly what: string;
  /** A sentence or several. */
  readonly remedy: string;
  /** True if nothing about the file is known: it may be a damaged one of any kind. */
  readonly unknown?: true;
}

export type FileKind = ReadableKind | Stranger;

const saveAsKeras = "model.save('model.keras') in Keras";
const exportTorch =
  "torch.onnx.export(model.eval(), torch.zeros(1, 3, 224, 224), 'model.onnx', input_names=['image'], " +
  "dynamic_axes={'image': {0: 'batch'}})";
const torch: Omit<Stranger, 'what'> = {
  remedy:
    `Graft does not unpickle files, since they can run code. In Python: ${exportTorch}; or, for weights of a ` +
    "network that Graft has, safetensors.torch.save_file(model.state_dict(), 'weights.safetensors').",
};
const fromSavedModel =
  'In Python: python -m tf2onnx.convert --saved-model FOLDER --output model.onnx; or, if Keras 2 wrote it, ' +
  "tf_keras.models.load_model('FOLDER').save('model.keras').";
const toOrigin = `Ask for the model that it was made from: .keras, .h5 (${saveAsKeras}) or .onnx.`;

const strangers = {
  empty: { what: 'empty', remedy: 'The download or copy did not finish; fetch it again.' },
  zeros: { what: 'nothing but zeros', remedy: 'The download or copy did not finish; fetch it again.' },
  lfs: {
    what: 'a Git LFS pointer, which stands for the file itself',
    remedy: 'Fetch the file: git lfs pull, or the "download" link of the page that it came from.',
  },
  html: {
    what: 'an HTML page, not a model',
    remedy: 'The address gave a web page, perhaps of an error or a login; open the file in a browser to see.',
  },
  xml: {
    what: 'XML, not a model',
    remedy: `Perhaps a server's error message, or the description of an OpenVINO model. ${toOrigin}`,
  },
  appleDouble: {
    what: "macOS's note about another file",
    remedy: 'The model has the same name without the "._" at the beginning.',
  },
  gzip: { what: 'compressed (gzip)', remedy: 'Unpack it first: gunzip, or tar -xzf for a .tar.gz.' },
  bzip2: { what: 'compressed (bzip2)', remedy: 'Unpack it first: bunzip2, or tar -xjf for a .tar.bz2.' },
  xz: { what: 'compressed (xz)', remedy: 'Unpack it first: unxz, or tar -xJf for a .tar.xz.' },
  zstd: { what: 'compressed (zstd)', remedy: 'Unpack it first: zstd -d.' },
  sevenZip: { what: 'a 7z archive', remedy: 'Unpack it first.' },
  rar: { what: 'a RAR archive', remedy: 'Unpack it first.' },
  tar: { what: 'a tar archive', remedy: 'Unpack it first: tar -xf.' },
  zip: { what: 'a zip archive', remedy: 'Unpack it first and name the model that is in it.' },
  npz: {
    what: 'a NumPy archive (.npz)',
    remedy: `It holds arrays without a model. Write the model: ${saveAsKeras}.`,
  },
  numpy: {
    what: 'a NumPy array (.npy)',
    remedy: `It holds an array without a model. Write the model: ${saveAsKeras}.`,
  },
  tflite: {
    what: 'a TensorFlow Lite model',
    remedy: `${toOrigin} Else: python -m tf2onnx.convert --tflite model.tflite --output model.onnx.`,
  },
  tfjsLayers: {
    what: 'a model of TensorFlow.js (model.json; its weights lie in .bin files)',
    remedy:
      'In Python: tensorflowjs_converter --input_format=tfjs_layers_model --output_format=keras model.json ' +
      'model.h5. Teachable Machine exports the same model as Keras: Export Model, Tensorflow, Keras.',
  },
  tfjsGraph: {
    what: 'a graph model of TensorFlow.js (model.json), which holds no layers any more',
    remedy: toOrigin,
  },
  kerasJson: {
    what: 'the description of a Keras model without its weights (model.to_json())',
    remedy: `Write both into one file: ${saveAsKeras}.`,
  },
  safetensorsIndex: {
    what: 'the index of a model that is cut into several .safetensors files',
    remedy: "Write the weights into one file: save_model(model, 'weights.safetensors') of safetensors.torch.",
  },
  json: { what: 'JSON, not a model', remedy: 'Look into it: perhaps it is the error message of a server.' },
  savedModel: { what: 'a SavedModel of TensorFlow', remedy: fromSavedModel },
  savedModelPart: {
    what: 'part of a SavedModel of TensorFlow',
    remedy: `The model is the folder that it lies in. ${fromSavedModel}`,
  },
  savedModelZip: { what: 'a SavedModel of TensorFlow in a zip archive', remedy: fromSavedModel },
  graphDef: { what: 'a graph of TensorFlow 1 (frozen .pb)', remedy: toOrigin },
  torchZip: { what: 'a file of PyTorch (.pt, .pth)', ...torch },
  torchScript: { what: 'a TorchScript program of PyTorch', ...torch },
  pickle: { what: 'a pickle of Python, such as older .pt and .pth files of PyTorch', ...torch },
  coreml: { what: 'a Core ML model', remedy: toOrigin },
  tensorrt: {
    what: 'an engine of TensorRT, which runs on one kind of GPU only',
    remedy: 'Ask for the .onnx file that it was built from.',
  },
  ort: {
    what: 'in the ORT format of ONNX Runtime',
    remedy: 'Ask for the .onnx file that it was made from.',
  },
  gguf: {
    what: 'a GGUF file of llama.cpp',
    remedy: 'Graft classifies images; it does not read language models.',
  },
  unpackedKeras: {
    what: 'an unpacked .keras archive',
    remedy:
      'Pack it again, inside the folder: zip -0 ../model.keras metadata.json config.json model.weights.h5.',
  },
  image: { what: 'an image', remedy: 'Name the model with --model; images follow without an option.' },
} satisfies Record<string, Stranger>;

/** First bytes, as Latin-1 text. Each of these is enough by itself. */
const beginnings: readonly (readonly [string, FileKind])[] = [
  ['\x89HDF\r\n\x1a\n', 'hdf5'],
  ['version https://git-lfs.github.com/', strangers.lfs],
  ['\x1f\x8b', strangers.gzip],
  ['BZh', strangers.bzip2],
  ['\xfd7zXZ\0', strangers.xz],
  ['\x28\xb5\x2f\xfd', strangers.zstd],
  ["7z\xbc\xaf'\x1c", strangers.sevenZip],
  ['Rar!\x1a\x07', strangers.rar],
  ['\x93NUMPY', strangers.numpy],
  ['GGUF', strangers.gguf],
  ['ftrt', strangers.tensorrt],
  ['ptrt', strangers.tensorrt],
  ['\x00\x05\x16\x07', strangers.appleDouble],
  ['\xff\xd8\xff', strangers.image],
  ['\x89PNG\r\n\x1a\n', strangers.image],
  ['GIF8', strangers.image],
];

/** Bytes that are looked at. TensorFlow.js's descriptions say what they are within them. */
const looked = 1 << 16;

/**
 * What a file or folder is. Throws `file` if it cannot be read or is neither; what is damaged counts as what it
 * began as, and its reader says what is wrong.
 */
export async function kindOf(path: string, shownAs = path): Promise<FileKind> {
  // Models may be folders; everything else that is no file is refused at the door.
  const stats = await stat(path).catch(() => null);
  if (stats?.isDirectory()) return folderKind(path);
  const options = { limit: Number.MAX_SAFE_INTEGER, kind: 'a model', shownAs };
  return withRegularFile(path, options, async (file) => {
    if (file.bytes === 0) return strangers.empty;
    return kindFrom(path, file, await file.read(0, Math.min(looked, file.bytes)));
  });
}

/**
 * Throws `file`: the file is not what was expected.
 *
 * @param expected completes "expected …": `a .keras or .h5 file`
 */
export function refuseKind(path: string, kind: FileKind, expected: string): never {
  const { what, remedy } = typeof kind === 'string' ? readable[kind] : kind;
  return fail('file', `${path} is ${what}; expected ${expected}. ${remedy}`.trimEnd());
}

/** What files that are read elsewhere are told. */
const readable: Readonly<Record<ReadableKind, Stranger>> = {
  kerasArchive: {
    what: 'a Keras model (.keras)',
    remedy: 'Such models are read by models.load; on the command line by --model.',
  },
  hdf5: {
    what: 'an HDF5 file, such as Keras writes (.h5)',
    remedy: 'Models of Keras are read by models.load, on the command line by --model; weights by --weights.',
  },
  onnx: {
    what: 'an ONNX model',
    remedy:
      'applications.fromOnnx makes a backbone of it; on the command line graft inspect shows it, and predict, ' +
      'evaluate (--model) and train (--backbone) take it if its name ends in .onnx.',
  },
  safetensors: {
    what: 'a file of weights (.safetensors), which holds no model',
    remedy: 'Build the model and use loadWeights; on the command line graft train --weights.',
  },
};

async function folderKind(path: string): Promise<FileKind> {
  const names = new Set(await readdir(path));
  if (names.has('saved_model.pb') || names.has('saved_model.pbtxt')) return strangers.savedModel;
  if (names.has('config.json') && names.has('model.weights.h5')) return strangers.unpackedKeras;
  if (basename(path).endsWith('.mlpackage') || (names.has('Manifest.json') && names.has('Data')))
    return strangers.coreml;
  const models = [...names].filter((name) => /\.(keras|h5|hdf5|onnx|safetensors)$/i.test(name)).sort();
  const inside = models.length === 0 ? '' : `Name a file in it: ${models.slice(0, 5).join(', ')}.`;
  return { what: 'a folder', remedy: inside };
}

async function kindFrom(path: string, file: RegularFile, start: Buffer): Promise<FileKind> {
  const text = start.toString('latin1');
  const known = beginnings.find(([beginning]) => text.startsWith(beginning));
  if (known !== undefined) return known[1];
  if (text.startsWith('PK\x03\x04') || text.startsWith('PK\x05\x06')) return zipKind(path, start);
  if (text.startsWith('TFL3', 4)) return strangers.tflite;
  if (text.startsWith('ORTM', 4)) return strangers.ort;
  if (text.startsWith('ustar', 257)) return strangers.tar;
  if (start[0] === 0x80 && start[1]! >= 2 && start[1]! <= 5) return strangers.pickle;
  // The length of a header in JSON comes first; one that leads out of the file is its reader's to report.
  if (/^[{][\s"}]/.test(text.slice(8, 10)) && start.readBigUInt64LE(0) < 2n ** 32n) return 'safetensors';
  if (start.every((byte) => byte === 0)) return strangers.zeros;
  return textKind(text) ?? (await protobufKind(file)) ?? unknown(path, start);
}

function textKind(latin: string): FileKind | null {
  // A byte order mark, as some servers send it.
  const text = latin.replace(/^\xef\xbb\xbf/, '').trimStart();
  if (/^(<!--[\s\S]*?-->\s*)?<(!doctype\s+html|html|head|body)\b/i.test(text)) return strangers.html;
  if (text.startsWith('<?xml') || /^<\w+[\s>]/.test(text)) return strangers.xml;
  if (!text.startsWith('{')) return null;
  if (/"format"\s*:\s*"graph-model"/.test(text)) return strangers.tfjsGraph;
  if (/"(modelTopology|weightsManifest)"\s*:/.test(text)) return strangers.tfjsLayers;
  if (/"weight_map"\s*:/.test(text)) return strangers.safetensorsIndex;
  if (/"class_name"\s*:\s*"/.test(text)) return strangers.kerasJson;
  return strangers.json;
}

async function zipKind(path: string, start: Buffer): Promise<FileKind> {
  const names = await namesInZip(path, start);
  const has = (pattern: RegExp) => names.some((name) => pattern.test(name));
  if (has(/^(metadata\.json|config\.json|model\.weights\.(h5|npz))$/)) return 'kerasArchive';
  if (has(/(^|\/)data\.pkl$/))
    return has(/(^|\/)constants\.pkl$/) ? strangers.torchScript : strangers.torchZip;
  if (has(/(^|\/)saved_model\.pb$/)) return strangers.savedModelZip;
  if (has(/com\.apple\.CoreML/)) return strangers.coreml;
  if (names.length > 0 && names.every((name) => name.endsWith('.npy'))) return strangers.npz;
  if (has(/(^|\/)model\.json$/) && has(/\.bin$/)) return strangers.tfjsLayers;
  // One that cannot be listed, or holds nothing known, is what its name says.
  if (/\.keras$/i.test(path)) return 'kerasArchive';
  const models = names.filter((name) => /\.(keras|h5|hdf5|onnx|tflite|pt|pth|safetensors)$/i.test(name));
  return models.length === 0
    ? strangers.zip
    : { what: `a zip archive with ${models.slice(0, 3).join(', ')} in it`, remedy: 'Unpack it first.' };
}

/** Enough to tell; archives of PyTorch have an entry for each weight. */
const mostNames = 1000;

/** The first names in a zip, or in one that is cut off the name of its first entry. */
async function namesInZip(path: string, start: Buffer): Promise<string[]> {
  const names: string[] = [];
  try {
    const zip = await openPromise(path, { autoClose: false });
    try {
      for await (const { fileName } of zip.eachEntry()) {
        names.push(fileName);
        if (names.length === mostNames) break;
      }
    } finally {
      zip.close();
    }
  } catch {
    // Damage is what readers of archives report; here the first local header says enough.
    if (names.length === 0 && start.length > 30)
      names.push(start.toString('latin1', 30, 30 + start.readUInt16LE(26)));
  }
  return names;
}

/** The most fields of a message that are passed over. */
const mostFields = 64;

/**
 * ONNX, SavedModel, a frozen graph and Core ML are protobuf, which has no signature: told apart by the numbers of
 * their top-level fields. ONNX: 1 ir_version, 2 producer_name, 7 graph. SavedModel: 1 version, 2 meta graphs. GraphDef:
 * 1 node (a message), 4 versions. Core ML: 1 version, 2 description, 200 or more the kind of model.
 */
async function protobufKind(file: RegularFile): Promise<FileKind | null> {
  const fields = await topFields(file);
  const wireType = (field: number) => fields.find(([number]) => number === field)?.[1];
  if (fields.length === 0) return null;
  if (wireType(1) === varint && wireType(2) !== varint && wireType(7) === bytes) return 'onnx';
  if (wireType(1) === varint && fields.some(([number]) => number >= 200)) return strangers.coreml;
  if (wireType(1) === varint && wireType(2) === bytes && fields.every(([number]) => number <= 2))
    return strangers.savedModelPart;
  if (wireType(1) === bytes && fields.every(([number, type]) => number <= 6 && type === bytes))
    return strangers.graphDef;
  return null;
}

const varint = 0;
const bytes = 2;
/** Bytes of the two types of fixed width. */
const widths: Readonly<Record<number, number>> = { 1: 8, 5: 4 };

/** Field numbers and wire types of a protobuf message; empty if it is none. A message that is cut off has its first. */
async function topFields(file: RegularFile): Promise<(readonly [field: number, type: number])[]> {
  const fields: (readonly [number, number])[] = [];
  let position = 0;
  while (position < file.bytes && fields.length < mostFields) {
    // Two numbers of at most ten bytes.
    const head = await file.read(position, Math.min(20, file.bytes - position));
    const tag = readVarint(head);
    if (tag === null) return [];
    const [field, type] = [Math.floor(tag.value / 8), tag.value % 8];
    if (field === 0) return [];
    position += tag.length;
    if (type === varint || type === bytes) {
      const value = readVarint(head.subarray(tag.length));
      if (value === null) return [];
      position += value.length + (type === bytes ? value.value : 0);
    } else if (widths[type] === undefined) return [];
    else position += widths[type];
    fields.push([field, type]);
  }
  return fields;
}

function readVarint(from: Uint8Array): { readonly value: number; readonly length: number } | null {
  let value = 0;
  for (const [i, byte] of from.entries()) {
    value += (byte & 127) * 2 ** (7 * i);
    if (byte < 128) return { value, length: i + 1 };
    if (i === 9) return null;
  }
  return null;
}

function unknown(path: string, start: Buffer): Stranger {
  if (/\.(engine|plan|trt)$/i.test(path)) return strangers.tensorrt;
  const shown = start.subarray(0, 24).toString('utf8');
  const begins = /^[\x20-\x7e\s]+$/.test(shown)
    ? `the text ${JSON.stringify(shown.trim())}`
    : `the bytes ${start
        .subarray(0, 8)
        .toString('hex')
        .replace(/(..)(?!$)/g, '$1 ')}`;
  return {
    what: `of no kind that Graft knows (it begins with ${begins})`,
    remedy: 'Perhaps it is damaged, or weights alone that need the model beside them.',
    unknown: true,
  };
}
