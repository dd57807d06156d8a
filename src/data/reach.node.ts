/** Whether published files can be had, without downloading them. */
import { messageOf } from '../core/errors.ts';
import { type Asset, exists, resolveAsset, type Source, targetOf } from './assets.node.ts';
import { cacheFolder } from './cache.node.ts';
import { reasonOf, request } from './download.node.ts';
import { idsInMirror } from './mirror.node.ts';

export interface Reach {
  readonly id: string;
  /** In the cache or a local mirror; its address answers; it does not; or what should be there is not. */
  readonly state: 'here' | 'answers' | 'silent' | 'missing';
  /** Why it cannot be had; empty if it can. */
  readonly reason: string;
  /** The host that was asked; null if none had to be. */
  readonly asked: string | null;
}

/** Milliseconds that an address has to answer. */
const patienceMs = 8000;

/**
 * Asks for the headers of what is not here.
 *
 * @param mirror as `AssetOptions` says, resolved: empty for the publishers
 * @throws `file` or `network` where a mirror cannot be read
 */
export async function reachAll(assets: readonly Asset[], mirror: string): Promise<Reach[]> {
  const listed = mirror === '' ? null : await idsInMirror(mirror);
  return Promise.all(
    assets.map(async (asset): Promise<Reach> => {
      if (listed !== null && !listed.includes(asset.id))
        return { id: asset.id, state: 'missing', reason: 'the mirror does not have it', asked: null };
      return reach(await resolveAsset(asset, { mirror }));
    }),
  );
}

async function reach(source: Source): Promise<Reach> {
  const { id, at } = source;
  if (at.kind === 'path' || (await exists(targetOf(source, cacheFolder()))))
    return { id, state: 'here', reason: '', asked: null };
  const asked = new URL(at.where).host;
  try {
    const { status } = await request(at.where, { method: 'HEAD', signal: AbortSignal.timeout(patienceMs) });
    // Some servers do not know HEAD; they are there all the same.
    if (status < 400 || status === 405 || status === 501) return { id, state: 'answers', reason: '', asked };
    return { id, state: 'missing', reason: `${at.where} answers with status ${status}`, asked };
  } catch (error) {
    const timeout = error instanceof Error && error.name === 'TimeoutError';
    return { id, state: 'silent', reason: timeout ? messageOf(error) : reasonOf(error), asked };
  }
}
