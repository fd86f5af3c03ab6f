import type { z } from 'zod';

/**
 * Refuses an item that says the same as an earlier one, at its own place; also beside items that are wrong in
 * another way, for which `key` is null.
 */
export function unique<T extends z.ZodType>(array: z.ZodArray<T>, key: (item: unknown) => string | null) {
  return array.superRefine(
    (items: readonly unknown[], context) => {
      const first = new Map<string, number>();
      for (const [index, item] of items.entries()) {
        const said = key(item);
        const earlier = said === null ? undefined : first.get(said);
        if (earlier !== undefined) {
          context.addIssue({ code: 'custom', path: [index], message: `the same as item ${earlier + 1} of the list` });
        } else if (said !== null) first.set(said, index);
      }
    },
    { when: ({ value }) => Array.isArray(value) },
  );
}
