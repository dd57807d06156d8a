/**
 * HTML that cannot say anything but what its author wrote: a page is made of `html` templates, and whatever they are
 * given, numbers included, becomes text in it. Only what such a template made stays as it is.
 */
import { fail } from '../core/errors.ts';

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** Safe in the text of an element and in an attribute in quotes. */
function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (letter) => entities[letter]!);
}

let make: (markup: string) => Html;

/** Markup. It comes from `html`, `markupOf` or `scriptData` only: its content is out of reach for everybody else. */
export class Html {
  readonly #markup: string;

  private constructor(markup: string) {
    this.#markup = markup;
  }

  toString(): string {
    return this.#markup;
  }

  static {
    make = (markup) => new Html(markup);
  }
}

/** What a template takes: markup, lists of it, and what becomes text. */
export type Content = Html | string | number | readonly Content[];

function rendered(content: Content): string {
  if (content instanceof Html) return content.toString();
  if (Array.isArray(content)) return (content as readonly Content[]).map(rendered).join('');
  // Records come from files: a type says nothing about what is there.
  return escaped(String(content));
}

/** Markup with values in it, which are escaped. Attributes need their quotes: html`<a title="${name}">`. */
export function html(parts: TemplateStringsArray, ...values: readonly Content[]): Html {
  return make(parts.reduce((markup, part, i) => markup + rendered(values[i - 1]!) + part));
}

/** An element that a library has drawn, with the library's own escaping. */
export function markupOf(element: { readonly outerHTML: string }): Html {
  return make(element.outerHTML);
}

/** A script element with data in it, which runs nothing: no text in it can end the element. */
export function scriptData(id: string, value: unknown): Html {
  const json = JSON.stringify(value).replaceAll('<', '\\u003c');
  return make(`<script type="application/json" id="${escaped(id)}">${json}</script>`);
}

const dataUri = /^data:image\/(?:png|jpeg|webp);base64,[A-Za-z0-9+/]*={0,2}$/;

/** The address of an image that lies in the page itself. Throws `argument` for any other address. */
export function imageUri(uri: string): string {
  return dataUri.test(uri)
    ? uri
    : fail('argument', `A page holds its images itself, got ${uri.slice(0, 60)}.`);
}

export function htmlTable(head: readonly Content[], rows: readonly (readonly Content[])[]): Html {
  const header =
    head.length === 0 ? '' : html`<thead><tr>${head.map((cell) => html`<th>${cell}</th>`)}</tr></thead>`;
  const row = ([first, ...rest]: readonly Content[]) =>
    html`<tr><th scope="row">${first ?? ''}</th>${rest.map((cell) => html`<td>${cell}</td>`)}</tr>\n`;
  return html`<div class="wide"><table>${header}<tbody>${rows.map(row)}</tbody></table></div>`;
}

export function section(title: string, content: Content): Html {
  return html`<section><h2>${title}</h2>\n${content}\n</section>\n`;
}

export function percent(value: number | null): string {
  return value === null ? '–' : `${(100 * value).toFixed(1)} %`;
}
