/** The version of Graft, which is part of every cache key: a mended error must not live on in kept features. */
import { createRequire } from 'node:module';

// The package's own name resolves from wherever its compiled files lie.
const description = createRequire(import.meta.url)('graft-ml/package.json') as { readonly version: string };

export const graftVersion = description.version;
