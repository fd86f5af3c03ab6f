import { defineConfig } from 'vitest/config';

/** The architecture test alone: it needs no servers, so `npm run check` stays quick. */
export default defineConfig({
  test: { include: ['test/architecture.test.ts'] },
});
