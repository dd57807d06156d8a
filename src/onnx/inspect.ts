/**
 * Looks into a foreign ONNX model: where its picture goes in, and at which tensors it can be cut. Shapes come from a
 * dry run (`shapesModel`), since no rule knows them for every operation there is.
 */
import { fail } from '../core/errors.ts';
import { type End, type ImageLayout, OnnxPart } from './foreign.ts';
import { graftOpset } from './opsets.ts';
import { elementTypes, encodeModel, type GraphProto, type ModelProto, type NodeProto } from './proto.ts';
import { dependents, namesTaken, sourcesOf } from './walk.ts';

/** Where a model takes pictures. */
export interface ImageInput extends End {
  /** Batch, height and width as the file fixes them; `null` where they are free. */
  readonly batch: number | null;
  readonly height: number | null;
  readonly width: number | null;
  /** 3: red, green, blue. 1: grey. */
  readonly channels: 1 | 3;
  /** True if the file takes uint8, and so 0 … 255. */
  readonly bytes: boolean;
}

/** The picture among the inputs of a model. Throws `unsupported` if there is none that Graft can feed. */
export function imageInput({ graph }: ModelProto): ImageInput {
  const dims = (value: GraphProto['input'][number]) => value.type?.tensorType?.shape?.dim ?? [];
  const images = graph.input.filter((value) => dims(value).length === 4);
  const found = images.find(({ name }) => /pixel|image/i.test(name)) ?? images[0];
  if (found === undefined) {
    const names = graph.input.map((value) => `${value.name} [${dims(value).map(dimText).join(', ')}]`);
    const vector = graph.input.map(dims).find((each) => each.length === 2 && each[1]!.dimValue);
    const length = vector?.[1]?.dimValue ?? 0;
    const [side, sideOfColour] = [Math.sqrt(length), Math.sqrt(length / 3)];
    const image = Number.isInteger(side)
      ? `${side}x${side} grey`
      : Number.isInteger(sideOfColour)
        ? `${sideOfColour}x${sideOfColour} colour`
        : '';
    const flattened = image === '' ? '' : `, perhaps ${image} images as one row of numbers each`;
    const mend =
      vector === undefined
        ? ''
        : ` It takes vectors of ${length} numbers${flattened}. Export it with a reshape in front, so that images go in.`;
    fail(
      'unsupported',
      `It takes no batch of images (four dimensions); its inputs are ${names.join(', ')}.${mend}`,
    );
  }
  const { elemType } = found.type.tensorType;
  const { float32, float16, uint8 } = elementTypes;
  if (elemType !== float32 && elemType !== float16 && elemType !== uint8) {
    fail(
      'unsupported',
      `Its input "${found.name}" is of type ${elemType}; Graft feeds float32, float16 and uint8.`,
    );
  }
  const size = dims(found).map(({ dimValue }) => dimValue || null) as (number | null)[];
  const layout = layoutOf(size);
  const [channels, height, width] =
    layout === 'channelsFirst' ? [size[1], size[2], size[3]] : [size[3], size[1], size[2]];
  if (channels !== null && channels !== 3 && channels !== 1) {
    fail(
      'unsupported',
      `Its images have ${channels} channels; Graft feeds 3 (red, green and blue) or 1 (grey).`,
    );
  }
  const form = { layout, batch: size[0]!, height: height!, width: width!, channels: channels ?? 3 } as const;
  return { name: found.name, ...form, bytes: elemType === uint8 };
}

/** Where no axis says 3 or 1, ONNX's own convention. */
function layoutOf([, first, , last]: readonly (number | null)[]): ImageLayout {
  for (const channels of [3, 1]) {
    if (first === channels) return 'channelsFirst';
    if (last === channels) return 'channelsLast';
  }
  return 'channelsFirst';
}

export function dimText({ dimValue, dimParam }: { dimValue?: number; dimParam?: string }): string {
  return dimParam || (dimValue ? String(dimValue) : '?');
}

/** A tensor that a picture has become. */
export interface ForeignTensor {
  readonly name: string;
  /** Which operation makes it. */
  readonly opType: string;
  /** True if nothing of the picture goes past it to the model's output. */
  readonly separates: boolean;
  /** Products with weights (convolutions, matrices) that come after it. */
  readonly productsAfter: number;
  /** The channels of a map: first or last. */
  readonly layout: ImageLayout;
}

/**
 * The first output that a picture alone decides: a model of pictures and texts has others too. Throws `unsupported`
 * if there is none.
 */
export function pictureOutput({ graph }: ModelProto, input: ImageInput): string {
  const moving = dependents(graph, input.name);
  const others = graph.input.map(({ name }) => name).filter((name) => name !== input.name);
  const sources = graph.output.map(({ name }) => sourcesOf(graph, name, input.name));
  const found = graph.output.find(
    ({ name }, i) => moving.has(name) && !others.some((other) => sources[i]!.has(other)),
  );
  const outputs = graph.output.map(({ name }) => `"${name}"`).join(', ');
  const beside = others.length > 0 ? `; it has other inputs: ${others.join(', ')}` : '';
  return (
    found?.name ??
    fail(
      'unsupported',
      `None of its outputs (${outputs}) comes from the picture "${input.name}" alone${beside}.`,
    )
  );
}

/** The tensors between a picture and the output of the model, in the order of the graph. */
export function foreignTensors(model: ModelProto, input: ImageInput): ForeignTensor[] {
  const { graph } = model;
  const moving = dependents(graph, input.name);
  const output = pictureOutput(model, input);
  const nodes = graph.node.filter((node) => node.output.some((name) => moving.has(name)));
  const taken = (node: NodeProto) => namesTaken(node).filter((name) => moving.has(name));
  const isProduct = (node: NodeProto) =>
    /^(Q?Linear)?(Conv|MatMul|Gemm)/.test(node.opType) && taken(node).length < node.input.length;
  const before = pathsFrom(input.name, nodes, taken);
  const after = pathsTo(output, nodes, taken);
  const total = before.get(output)!;
  const layouts = new Map<string, ImageLayout>([[input.name, input.layout]]);
  let products = nodes.filter((node) => after.has(node.output[0]!) && isProduct(node)).length;
  return nodes.flatMap((node) => {
    const name = node.output[0]!;
    const layout = layoutAfter(node, layouts.get(taken(node)[0] ?? ''));
    for (const each of node.output) layouts.set(each, layout);
    if (!after.has(name)) return [];
    if (isProduct(node)) products--;
    const separates = (before.get(name)! * after.get(name)!) % modulus === total;
    return [{ name, opType: node.opType, separates, productsAfter: products, layout }];
  });
}

/** A tensor separates if all ways lead through it. There may be more of them than fit into memory, hence modulo a prime. */
const modulus = 2_305_843_009_213_693_951n;

/** How many ways lead from a value to each other one. */
function pathsFrom(start: string, nodes: readonly NodeProto[], taken: (node: NodeProto) => string[]) {
  const counts = new Map([[start, 1n]]);
  for (const node of nodes) {
    const sum = taken(node).reduce((total, name) => total + (counts.get(name) ?? 0n), 0n) % modulus;
    for (const name of node.output) counts.set(name, sum);
  }
  return counts;
}

/** How many ways lead from each value to one at the end. */
function pathsTo(end: string, nodes: readonly NodeProto[], taken: (node: NodeProto) => string[]) {
  const counts = new Map([[end, 1n]]);
  for (const node of nodes.toReversed()) {
    const ways = node.output.reduce((total, name) => total + (counts.get(name) ?? 0n), 0n) % modulus;
    if (ways === 0n) continue;
    for (const name of taken(node)) counts.set(name, ((counts.get(name) ?? 0n) + ways) % modulus);
  }
  return counts;
}

/** Operations that ONNX has for channels-first maps only. */
const channelsFirst =
  /^(Conv|QLinearConv|ConvInteger|ConvTranspose|BatchNormalization|InstanceNormalization|GroupNormalization|Global\w+|MaxPool|AveragePool|LpPool|LRN|DepthToSpace|SpaceToDepth|Upsample)$/;
/** Operations over the last axis, where the channels must then be. */
const channelsLast = /^(MatMul|LayerNormalization|Gemm)$/;

function layoutAfter({ opType, attribute }: NodeProto, before: ImageLayout = 'channelsFirst'): ImageLayout {
  if (channelsFirst.test(opType)) return 'channelsFirst';
  if (channelsLast.test(opType)) return 'channelsLast';
  if (opType !== 'Transpose') return before;
  const order = attribute.find(({ name }) => name === 'perm')?.ints?.join();
  if (order === '0,2,3,1') return 'channelsLast';
  return order === '0,3,1,2' ? 'channelsFirst' : before;
}

/** An ONNX model that says the shape of each tensor, as `shape0`, `shape1`, ... */
export function shapesModel(
  model: ModelProto,
  input: ImageInput,
  tensors: readonly ForeignTensor[],
): Uint8Array {
  const { graph, irVersion, opsets } = new OnnxPart(model, input, {
    name: pictureOutput(model, input),
    layout: 'channelsFirst',
  }).splice;
  const shapes = tensors.map(
    ({ name }, i): NodeProto => ({
      ...{ opType: 'Shape', name: `shape${i}`, input: [name], output: [`shape${i}`] },
      attribute: [],
    }),
  );
  const tensorType = { elemType: elementTypes.int64, shape: { dim: [{}] } };
  const free = [{ dimParam: 'batch' }, {}, {}, {}];
  return encodeModel({
    ...{ irVersion, producerName: 'graft', metadataProps: [] },
    opsetImport: opsets.map(({ domain, version }) => ({
      domain,
      version: domain === '' ? Math.max(version, graftOpset) : version,
    })),
    graph: {
      ...graph,
      node: [...graph.node, ...shapes],
      input: [
        { name: input.name, type: { tensorType: { elemType: elementTypes.float32, shape: { dim: free } } } },
      ],
      output: shapes.map(({ name }) => ({ name, type: { tensorType } })),
    },
  });
}

/** The shape of a tensor for one picture, in the order of its dimensions in the file. */
export interface ShapedTensor extends ForeignTensor {
  readonly shape: readonly number[];
}

/** Products with weights in the largest classifiers on top of a last feature map: the three matrices of VGG. */
const classifierProducts = 3;

/**
 * Where to cut if nobody says: at the last feature map, if what follows is no more than a classifier; else at the
 * vector or the tokens that go into the last matrix; else at the end, where a model without a classifier has its
 * features. Null if no tensor holds features of a picture.
 */
export function usualCut(tensors: readonly ShapedTensor[]): ShapedTensor | null {
  const cuts = tensors.filter(({ separates, shape }) => separates && shape.length >= 1 && shape.length <= 3);
  const map = cuts.findLast(({ shape, layout, productsAfter }) => {
    const [height, width] = layout === 'channelsFirst' ? [shape[1], shape[2]] : [shape[0], shape[1]];
    return shape.length === 3 && height! > 1 && width! > 1 && productsAfter <= classifierProducts;
  });
  const vector = cuts.findLast(({ shape, productsAfter }) => shape.length === 1 && productsAfter > 0);
  // Tokens inside the last block have products behind them too: those of the block.
  const tokens = cuts.findLast(({ shape }) => shape.length === 2);
  const embedding = vector ?? (tokens && tokens.productsAfter > 0 ? tokens : cuts.at(-1));
  return map ?? embedding ?? null;
}

/** The part of a model up to a tensor. Throws `argument` if there is no such tensor. */
export function partUpTo(model: ModelProto, name: string): OnnxPart {
  const input = imageInput(model);
  const end = foreignTensors(model, input).find((tensor) => tensor.name === name);
  if (end !== undefined) return new OnnxPart(model, input, end);
  const names = foreignTensors(model, input).filter(({ separates }) => separates);
  return fail(
    'argument',
    `There is no tensor "${name}" on the way to its output. The last ones: ` +
      `${names
        .slice(-6)
        .map((tensor) => tensor.name)
        .join(', ')}; graft inspect lists them all.`,
  );
}
