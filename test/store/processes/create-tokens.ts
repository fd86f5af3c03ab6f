import { writeSync } from 'node:fs';
import { openEmbeddedStore } from '../../../src/store/sqlite/embedded-store.ts';
import { aToken } from '../../contract/token-fixture.ts';

/*
 * `node create-tokens.ts FOLDER COUNT`: creates tokens one after the other and prints the id of each as soon as the
 * store has acknowledged it; COUNT 0 goes on until the process is killed.
 */
const [folder = '', count = '0'] = process.argv.slice(2);
const store = openEmbeddedStore({ path: folder });
for (let made = 0; count === '0' || made < Number(count); made += 1) {
  const record = aToken();
  if (!(await store.create(record))) throw new Error(`${record.id} is taken`);
  // Written in one piece to the pipe before the next token is begun: process.stdout could hold it back.
  writeSync(1, `${record.id}\n`);
}
await store.close();
