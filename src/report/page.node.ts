/** The frame of a report: one file that asks nothing of a network, in light and dark, wide and narrow. */
import { createHash } from 'node:crypto';
import { colourOf, mostColours } from './charts.ts';
import { type Html, html, imageUri, scriptData } from './html.ts';

export interface Page {
  readonly title: string;
  readonly body: Html;
  readonly gallery: Gallery;
}

export interface PagePicture {
  readonly uri: string;
  /** The same with a heat map over it, or empty. */
  readonly heat?: string;
  readonly caption: string;
}

/** The pictures of a page, each there once. */
export interface Gallery {
  readonly pictures: Readonly<Record<number, PagePicture>>;
  /** What a button shows: by its `data-group`. */
  readonly groups: Readonly<Record<string, { readonly title: string; readonly pictures: readonly number[] }>>;
}

/**
 * Places for pictures that the page's script fills in, with their heat maps if that is asked for; what has no
 * thumbnail shows its caption only.
 */
export function figures(positions: readonly number[], shows: 'picture' | 'heat' = 'picture'): Html {
  const places = positions.map((i) => html`<figure data-picture="${i}" data-shows="${shows}"></figure>`);
  return html`<div class="pictures">${places}</div>`;
}

/** Steps of the shades of the confusion matrix. */
export const mostShade = 10;

/** `shade-0` to `shade-10` in the colours of right and wrong; at most 60 %, so that a number stays readable on them. */
function confusionShades(): string {
  const rules = ['right', 'wrong'].flatMap((colour) =>
    Array.from({ length: mostShade + 1 }, (_, shade) => {
      const strength = 10 + (50 * shade) / mostShade;
      return `.${colour}.shade-${shade} { background: color-mix(in srgb, var(--${colour}) ${strength}%, transparent) }`;
    }),
  );
  return rules.join('\n');
}

function seriesColours(): string {
  const rules = Array.from({ length: mostColours }, (_, i) => `.series-${i} { background: ${colourOf(i)} }`);
  return rules.join('\n');
}

const style = `
:root { color-scheme: light dark;
  --ground: light-dark(#fff, #16181c); --text: light-dark(#1c1e21, #e6e6e6); --soft: light-dark(#5c6066, #a0a4ab);
  --line: light-dark(#dcdfe3, #363a41); --right: light-dark(#2b8a3e, #51a862); --wrong: light-dark(#c92a2a, #ef6b6b);
  --series-1: light-dark(#1864ab, #6cb2f0); --series-2: light-dark(#c2510c, #f7a35c);
  --series-3: light-dark(#2b8a3e, #69c77c); --series-4: light-dark(#862e9c, #cf8fe0);
  --series-5: light-dark(#a61e4d, #f783ac); --series-6: light-dark(#0b7285, #3bc9db); }
:root[data-theme=light] { color-scheme: light } :root[data-theme=dark] { color-scheme: dark }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 72em; margin: 0 auto; padding: 1em;
  color: var(--text); background: var(--ground) }
header { display: flex; gap: 1em; align-items: start; justify-content: space-between }
h1 { font-size: 1.4em; margin: 0; overflow-wrap: anywhere } h2 { font-size: 1.15em; margin: 2em 0 .6em }
h3 { font-size: 1em; margin: .8em 0 .3em } p { margin: .5em 0; max-width: 45em } .soft { color: var(--soft) }
.big { font-size: 1.9em; font-weight: 600; margin: .4em 0 0 }
button { font: inherit; color: inherit; background: none; border: 1px solid var(--line); border-radius: 5px;
  cursor: pointer } button:focus-visible { outline: 2px solid var(--series-1) }
.wide { overflow-x: auto; margin: .5em 0 } table { border-collapse: collapse } td { white-space: nowrap }
th, td { padding: .2em .6em; text-align: right; border-bottom: 1px solid var(--line); vertical-align: top } th:first-child { text-align: left }
tbody th { font-weight: 500 } .words th, .words td { text-align: left } .words td { overflow-wrap: anywhere;
  min-width: 9em; white-space: normal }
.confusion td { padding: 1px; border: 0; min-width: 2.6em; text-align: center }
.confusion button { width: 100%; border: 0; padding: .3em 0; border-radius: 2px }
${confusionShades()}
.confusion thead th { writing-mode: vertical-rl; transform: rotate(180deg); text-align: left; padding: .3em }
.charts { display: flex; flex-wrap: wrap; gap: .5em 1.5em } .charts svg { display: block; max-width: 100%;
  height: auto; --plot-background: var(--ground) } .charts svg text { white-space: pre }
${seriesColours()}
.legend span { margin-right: 1em } .legend i { display: inline-block; width: .8em; height: .8em; margin-right: .4em }
.pictures { display: flex; flex-wrap: wrap; gap: .8em } figure { margin: 0; width: 104px; font-size: 12px }
figure img { width: 96px; height: 96px; object-fit: contain; image-rendering: pixelated; display: block }
figcaption { overflow-wrap: anywhere } pre { white-space: pre-wrap; overflow-wrap: anywhere; padding: .7em;
  border: 1px solid var(--line); border-radius: 5px } ul { margin: .3em 0; padding-left: 1.4em }
summary { cursor: pointer } #theme { flex: none; white-space: nowrap }
@media (max-width: 34em) { th, td { padding: .2em .35em; font-size: 13px } .confusion td { min-width: 2.2em } }
#shown { border: 1px solid var(--line); border-radius: 5px; padding: .2em .8em .8em; margin-top: .8em }
`;

const script = `
const gallery = JSON.parse(document.getElementById('gallery').textContent);
const fill = (figure, id) => {
  const picture = gallery.pictures[id];
  const { shows } = figure.dataset;
  for (const uri of shows === 'heat' ? [picture.uri, picture.heat] : [picture.uri]) {
    if (!uri) continue;
    const image = new Image();
    image.src = uri;
    image.alt = uri === picture.heat ? 'what spoke for the class' : picture.caption;
    figure.append(image);
  }
  const caption = document.createElement('figcaption');
  // Names of files lie in folders: a line ends there rather than within a word.
  for (const [i, part] of picture.caption.split('/').entries())
    caption.append(...(i === 0 ? [] : ['/', document.createElement('wbr')]), part);
  figure.append(caption);
  return figure;
};
for (const figure of document.querySelectorAll('[data-picture]')) fill(figure, figure.dataset.picture);
for (const button of document.querySelectorAll('[data-group]')) button.addEventListener('click', () => {
  const { title, pictures } = gallery.groups[button.dataset.group];
  const shown = document.getElementById('shown');
  const heading = document.createElement('h3');
  heading.textContent = title;
  const list = document.createElement('div');
  list.className = 'pictures';
  list.append(...pictures.map((id) => fill(document.createElement('figure'), id)));
  shown.replaceChildren(heading, list);
  shown.hidden = false;
  shown.scrollIntoView({ block: 'nearest' });
});
document.getElementById('theme').addEventListener('click', () => {
  const dark = getComputedStyle(document.documentElement).colorScheme === 'dark' ||
    (!document.documentElement.dataset.theme && matchMedia('(prefers-color-scheme: dark)').matches);
  document.documentElement.dataset.theme = dark ? 'light' : 'dark';
});
`;

/** How a page's content security policy names a style or script that may be in it. */
function hashOf(content: string): string {
  return `'sha256-${createHash('sha256').update(content).digest('base64')}'`;
}

/** What `renderDocument` takes. Style and script are Graft's own text, with nothing of anybody else in it. */
export interface Document {
  readonly title: string;
  readonly style: string;
  readonly script: string;
  readonly body: Html;
}

/** One file that loads nothing, and runs nothing but this very script, whatever is in its body. */
export function renderDocument({ title, style, script, body }: Document): string {
  const scripts = script === '' ? '' : ` script-src ${hashOf(script)};`;
  const policy = `default-src 'none'; img-src data:; style-src ${hashOf(style)};${scripts} base-uri 'none'; form-action 'none'`;
  // Style and script hold characters that templates escape; the policy holds quotes.
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
${html`<title>${title}</title>`}
<link rel="icon" href="data:,">
<style>${style}</style></head>
<body>
${body}
${script === '' ? '' : `<script>${script}</script>\n`}</body></html>
`;
}

export function renderPage({ title, body, gallery }: Page): string {
  for (const { uri, heat = '' } of Object.values(gallery.pictures)) {
    for (const each of [uri, heat]) if (each !== '') imageUri(each);
  }
  const whole = html`<header><h1>${title}</h1><button id="theme" type="button">Light / dark</button></header>
${body}
${scriptData('gallery', gallery)}`;
  return renderDocument({ title, style, script, body: whole });
}
