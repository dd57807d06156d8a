// Writes assets/emoji10.json.gz: the drawings of the data set emoji10, as their designers published them.
//
// It installs nothing. In an empty folder:
//   npm install --ignore-scripts @iconify-json/{noto,noto-v1,fluent-emoji-flat,fxemoji,streamline-emojis} \
//     @iconify-json/{emojione,emojione-v1,twemoji,openmoji}
// and here: node scripts/make-emoji10.mjs THAT_FOLDER/node_modules
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { gzipSync } from 'node:zlib';

/** Sets by designer. A designer's sets go to the same part, so that nobody is learned from and tested on. */
const designers = [
  { designer: 'Google', part: 'train', sets: ['noto', 'noto-v1'] },
  { designer: 'Microsoft', part: 'train', sets: ['fluent-emoji-flat'] },
  { designer: 'Mozilla', part: 'train', sets: ['fxemoji'] },
  { designer: 'Streamline', part: 'train', sets: ['streamline-emojis'] },
  { designer: 'EmojiOne', part: 'validation', sets: ['emojione', 'emojione-v1'] },
  { designer: 'Twitter', part: 'test', sets: ['twemoji'] },
  { designer: 'OpenMoji', part: 'test', sets: ['openmoji'] },
];

/**
 * Names to look for; a set has some of them. CIFAR-10's truck is no pick-up and its automobile no bus. Left out after
 * a look at them: carousel horses (on a pole), horse-jumping-hurdle (mostly hurdle), turkey (a flag in some sets).
 */
const wanted = {
  airplane: ['airplane', 'small-airplane', 'airplane-departure', 'airplane-arrival'],
  automobile: [
    ...['automobile', 'taxi', 'police-car', 'racing-car', 'sport-utility-vehicle'],
    ...['oncoming-automobile', 'oncoming-taxi', 'oncoming-police-car', 'oncomingautomobile', 'oncomingtaxi'],
  ],
  bird: [
    ...['bird', 'bird-1', 'bird-2', 'dove', 'doveofpeace', 'eagle', 'owl', 'parrot', 'duck', 'swan'],
    ...['goose', 'black-bird', 'blackbird', 'penguin', 'penguin-1', 'rooster', 'baby-chick', 'babychick'],
  ],
  cat: [
    ...['cat', 'cat-face', 'black-cat', 'grinning-cat', 'grinning-cat-face', 'pouting-cat'],
    ...['pouting-cat-face'],
  ],
  deer: ['deer', 'moose'],
  dog: ['dog', 'dog-face', 'dogside', 'poodle', 'guide-dog', 'service-dog'],
  frog: ['frog', 'frog-face'],
  horse: ['horse', 'horse-face', 'horseface', 'horse-racing', 'horseracing', 'horse-riding'],
  ship: ['ship', 'passenger-ship', 'ferry', 'sailboat', 'motor-boat', 'speedboat'],
  truck: [
    ...['delivery-truck', 'deliverytruck', 'articulated-lorry', 'articulatedlorry', 'fire-engine'],
    ...['oncoming-fire-engine'],
  ],
};

/** Drawn inside a frame, which would be learned instead; antlers alone; a van. */
const misleading = new Set(['streamline-emojis/ship', 'openmoji/moose', 'openmoji/delivery-truck']);

const folder = process.argv[2];
if (folder === undefined) throw new Error('Expected the node_modules folder with the sets of @iconify-json.');

const sets = designers.flatMap(({ designer, part, sets }) => sets.map((set) => read(set, designer, part)));
const target = resolve(import.meta.dirname, '../assets/emoji10.json.gz');
writeFileSync(`${target}.new`, gzipSync(layout(sets), { level: 9 }));
renameSync(`${target}.new`, target);
const glyphs = sets.flatMap((set) => set.glyphs);
console.log(`${glyphs.length} drawings of ${sets.length} sets: ${target}`);

function read(set, designer, part) {
  const path = join(folder, '@iconify-json', set);
  const json = (name) => JSON.parse(readFileSync(join(path, name), 'utf8'));
  const { icons, ...defaults } = json('icons.json');
  const { name, author, license } = json('info.json');
  const glyphs = Object.entries(wanted).flatMap(([label, names]) =>
    names
      .filter((glyph) => glyph in icons && !misleading.has(`${set}/${glyph}`))
      .map((glyph) => ({ label, name: glyph, ...drawing(icons[glyph], defaults) })),
  );
  return {
    ...{ name, designer, part },
    ...{ package: `@iconify-json/${set}`, version: json('package.json').version },
    ...{ author: author.name, url: author.url, licence: license.spdx, licenceUrl: license.url },
    glyphs,
  };
}

/** What Iconify leaves out is the set's, or its own default of 16. */
function drawing(icon, { left = 0, top = 0, width = 16, height = 16 }) {
  if (icon.rotate || icon.hFlip || icon.vFlip) throw new Error('Turned drawings are not handled.');
  const box = [icon.left ?? left, icon.top ?? top, icon.width ?? width, icon.height ?? height];
  return { viewBox: box.join(' '), body: icon.body };
}

/** A line for each drawing, so that a change of one shows as that. */
function layout(sets) {
  const set = ({ glyphs, ...about }) => {
    const lines = glyphs.map((glyph) => `      ${JSON.stringify(glyph)}`).join(',\n');
    const head = JSON.stringify(about, null, 2).slice(2, -2).replaceAll('\n', '\n  ');
    return `  {\n  ${head},\n    "glyphs": [\n${lines}\n    ]\n  }`;
  };
  return `[\n${sets.map(set).join(',\n')}\n]\n`;
}
