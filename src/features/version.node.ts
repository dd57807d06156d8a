/** The version of Graft, which is part of every key: a mended error must not live on in kept features. */
import { readFileSync } from 'node:fs';

const description = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');

export const graftVersion = (JSON.parse(description) as { readonly version: string }).version;
