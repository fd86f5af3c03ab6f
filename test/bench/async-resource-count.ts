import { createHook } from 'node:async_hooks';

/*
 * Loaded into a gateway process with --import. The parent says `count`, and later `report`: it then gets how often each
 * kind of asynchronous resource was made at each place in between.
 */

/** What a hot path can make too many of: each costs memory, and a turn of some queue. */
const KINDS: ReadonlySet<string> = new Set(['PROMISE', 'Timeout', 'Immediate', 'TickObject', 'Microtask']);

/** Frames, from where it was made, that tell one place from another: few, so that callers share what they share. */
const PLACE_FRAMES = 4;

/** Frames that are shown of one way there. */
const SHOWN_FRAMES = 12;

const places = new Map<string, { readonly stack: string; count: number }>();

const hook = createHook({
  init(_id, kind) {
    if (!KINDS.has(kind)) return;
    const frames = [kind, ...stack()];
    const place = frames.slice(0, PLACE_FRAMES + 1).join('\n');
    const known = places.get(place);
    if (known === undefined) places.set(place, { stack: frames.join('\n'), count: 1 });
    else known.count += 1;
  },
});

/** Without the frames of the hook itself, and without the folders that this checkout happens to be in. */
function stack(): string[] {
  const holder: { stack?: string } = {};
  Error.captureStackTrace(holder, stack);
  return String(holder.stack)
    .split('\n')
    .slice(1)
    .filter((line) => !line.includes('async_hooks') && !line.includes('async-resource-count'))
    .map((line) => line.trim().replace(/(file:\/\/)?\/\S*\/(src|node_modules)\//, '$2/'))
    .slice(0, SHOWN_FRAMES);
}

process.on('message', (message) => {
  if (message === 'count') {
    Error.stackTraceLimit = SHOWN_FRAMES + 6;
    places.clear();
    hook.enable();
    process.send?.('counting');
  } else if (message === 'report') {
    hook.disable();
    process.send?.([...places.values()].map(({ stack: place, count }) => [place, count]));
  }
});
process.channel?.unref();
