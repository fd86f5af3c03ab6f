import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { loadConfig } from '../../src/config/load.ts';
import { configJsonSchema, configSchema } from '../../src/config/schema.ts';

const root = resolve(import.meta.dirname, '../..');
const file = resolve(root, 'config.example.yaml');
const text = readFileSync(file, 'utf8');

/** The parts of a JSON Schema that this test walks through. */
interface Schema {
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: Schema | boolean;
  readonly description?: string;
  readonly default?: unknown;
}

interface Key {
  readonly path: readonly string[];
  readonly schema: Schema;
}

/** Every key below `schema`; `*` stands for the name of an upstream. */
function keys(schema: Schema, path: readonly string[] = []): Key[] {
  const own = Object.entries(schema.properties ?? {}).flatMap(([name, child]) => [
    { path: [...path, name], schema: child },
    ...keys(child, [...path, name]),
  ]);
  const { additionalProperties } = schema;
  return typeof additionalProperties === 'object' ? [...own, ...keys(additionalProperties, [...path, '*'])] : own;
}

function valueAt(path: readonly string[]): unknown {
  return path.reduce<unknown>((value, step) => {
    if (typeof value !== 'object' || value === null) return undefined;
    return new Map(Object.entries(value)).get(step === '*' ? 'orders' : step);
  }, parse(text));
}

const all = keys(configJsonSchema());
const isSecretReference = ({ path }: Key) => path.at(-1) === 'env' || path.at(-1) === 'file';

describe('config.example.yaml', () => {
  it('loads without an error or a warning', async () => {
    const { config, diagnostics } = await loadConfig(file, {});
    expect(diagnostics).toEqual([]);
    expect(config?.upstreams.get('orders')?.url.href).toBe('http://127.0.0.1:9000/');
    expect(config?.policies).toBe(resolve(root, 'policies'));
  });

  it('means the same as a configuration of its upstreams alone', () => {
    const schema = configSchema({ folder: root, env: {} });
    const written = schema.parse(parse(text));
    const { kind, path, ...store } = written.store;
    expect([kind, path]).toEqual(['embedded', resolve(root, 'data')]);
    expect({ ...written, store }).toEqual(schema.parse({ upstreams: { orders: { url: 'http://127.0.0.1:9000' } } }));
  });

  it('shows every key that the schema knows', () => {
    expect(all.length).toBeGreaterThan(50);
    const missing = all
      .filter((key) => !isSecretReference(key) && valueAt(key.path) === undefined)
      .filter(({ path }) => !new RegExp(`^ *# .*\\b${path.at(-1)}: `, 'm').test(text))
      .map(({ path }) => path.join('.'));
    expect(missing).toEqual([]);
  });

  it('shows the default of every key that has one', () => {
    const leaves = all.filter(({ schema }) => schema.default !== undefined && schema.properties === undefined);
    const shown = leaves
      .filter(({ path }) => path.join('.') !== 'upstreams')
      .map(({ path }) => [path.join('.'), valueAt(path)]);
    expect(shown.length).toBeGreaterThan(25);
    expect(shown).toEqual(
      leaves
        .filter(({ path }) => path.join('.') !== 'upstreams')
        .map(({ path, schema }) => [path.join('.'), schema.default]),
    );
  });
});

describe('the JSON Schema of the configuration', () => {
  const validate = new Ajv2020({ strict: false }).compile(configJsonSchema());

  it('describes every key', () => {
    const silent = all.filter(({ schema, path }) => schema.description === undefined && path.at(-1) !== 'kind');
    expect(silent.map(({ path }) => path.join('.'))).toEqual([]);
  });

  it('accepts the example', () => {
    expect(validate(parse(text)) || validate.errors).toBe(true);
  });

  it.each([
    [{ listn: {} }, 'an unknown key'],
    [{ listen: { limits: { header_bytes: '16kb' } } }, 'a size of another unit'],
    [{ store: { kind: 'redis', path: 'x' } }, 'a key of the other kind of store'],
    [{ tokens: { pepper: 'inline' } }, 'an inline secret'],
    [{ upstreams: { a: {} } }, 'an upstream without a url'],
  ])('refuses %j: %s', (document, _what) => {
    expect(validate(document)).toBe(false);
  });
});
