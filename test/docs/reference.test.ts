import { describe, expect, it } from 'vitest';
import { ADMIN_REASONS } from '../../src/admin/problem.ts';
import { ADMIN_SCOPES } from '../../src/admin/route.ts';
import { configJsonSchema } from '../../src/config/schema.ts';
import { OWN_TOKEN_REASONS } from '../../src/gateway/own-token.ts';
import { FAMILIES } from '../../src/metrics/families.ts';
import { AUDIT_EVENT_TYPES } from '../../src/model/audit-event.ts';
import { CONDITION_NAMES } from '../../src/model/condition.ts';
import { REASON_NAMES, REASONS } from '../../src/model/reason.ts';
import { bare, codeWords, readPage, section, tableRows } from './markdown.ts';

/** What is there is documented, and nothing else is. */

describe('docs/reasons.md', () => {
  const page = readPage('docs/reasons.md');
  const documented = page.headings.filter(({ level }) => level === 3).map(({ title }) => bare(title));

  it('has one section for each reason, and no other', () => {
    expect(documented.toSorted()).toEqual([...REASON_NAMES].toSorted());
  });

  it.each(REASON_NAMES)('tells the status of %s, when it happens and what to do', (reason) => {
    const text = section(page, reason);
    expect(/^Status: (\d+)$/m.exec(text)?.[1]).toBe(String(REASONS[reason].status));
    expect(text).toContain('**When.**');
    expect(text).toContain('**What to do.**');
  });
});

describe('docs/tokens.md', () => {
  it('has one row for each reason of the holder’s own endpoints with its status, and no other', () => {
    const rows = tableRows(section(readPage('docs/tokens.md'), "The holder's own endpoints"));
    const documented = rows.map(([reason = '', status = '']) => [bare(reason), Number(status)]);
    const there = Object.entries(OWN_TOKEN_REASONS).map(([reason, { status }]) => [reason, status]);
    expect(documented.filter(([, status]) => Number(status) > 0)).toEqual(there);
  });
});

describe('docs/metrics.md', () => {
  const rows = tableRows(readPage('docs/metrics.md').prose).filter(([name]) => /^`portcullis_\w+`$/.test(name ?? ''));

  it('has one row for each family with its type and labels, and no other', () => {
    const documented = rows.map(([name = '', type = '', labels = '']) => [bare(name), type, codeWords(labels)]);
    const there = Object.values(FAMILIES).map(({ name, type, labels }) => [name, type, [...labels]]);
    expect(byFirst(documented)).toEqual(byFirst(there));
  });

  it('says of each family what it means and what to watch', () => {
    for (const [name, , , meaning = '', alert = ''] of rows) {
      expect([name, meaning.length > 20, alert.length > 0]).toEqual([name, true, true]);
    }
  });
});

describe('docs/configuration.md', () => {
  const rows = tableRows(readPage('docs/configuration.md').prose)
    .filter(([key]) => /^`[a-z_]+(\.|\[|`$)/.test(key ?? ''))
    .map(([key = '', type = '', byDefault = '', meaning = '']) => ({ key: bare(key), type, byDefault, meaning }));
  const keys = configKeys(configJsonSchema());

  it('has one row for each key, and no other', () => {
    const keysThere = new Set(keys.map(({ key }) => key));
    expect(rows.map(({ key }) => key).toSorted()).toEqual([...keysThere].toSorted());
  });

  it('tells the default of each key that has a plain one', () => {
    const plain = keys.filter(({ schema }) => schema.default !== undefined && typeof schema.default !== 'object');
    expect(plain.length).toBeGreaterThan(20);
    const told = plain.map(({ key }) => [key, bare(rows.find((row) => row.key === key)?.byDefault ?? '')]);
    expect(told).toEqual(plain.map(({ key, schema }) => [key, String(schema.default)]));
  });

  it('says what each key is and means', () => {
    expect(rows.filter(({ type, meaning }) => type === '' || meaning === '')).toEqual([]);
  });
});

describe('docs/audit.md', () => {
  it('has one row for each type of event, and no other', () => {
    const documented = tableRows(section(readPage('docs/audit.md'), 'Types')).map(([type = '']) => bare(type));
    expect(documented.toSorted()).toEqual([...AUDIT_EVENT_TYPES].toSorted());
  });
});

describe('docs/policies.md', () => {
  it('has one row for each condition, and no other', () => {
    const documented = tableRows(section(readPage('docs/policies.md'), 'Conditions')).map(([name = '']) => bare(name));
    expect(documented.toSorted()).toEqual([...CONDITION_NAMES].toSorted());
  });
});

describe('docs/admin-api.md', () => {
  const page = readPage('docs/admin-api.md');

  it('has one row for each scope, and no other', () => {
    const documented = tableRows(section(page, 'Authentication')).map(([scope = '']) => bare(scope));
    expect(documented).toEqual([...ADMIN_SCOPES]);
  });

  it('has one row for each reason of its own with its status, and no other', () => {
    const documented = tableRows(section(page, 'Conventions')).map(([reason = '', status = '']) => [
      bare(reason),
      Number(status),
    ]);
    expect(documented).toEqual(Object.entries(ADMIN_REASONS).map(([reason, { status }]) => [reason, status]));
  });
});

/** The parts of a JSON Schema that this test walks through. */
interface Schema {
  readonly properties?: Readonly<Record<string, Schema | boolean>>;
  readonly additionalProperties?: Schema | boolean;
  readonly items?: Schema;
  readonly anyOf?: readonly Schema[];
  readonly oneOf?: readonly Schema[];
  readonly default?: unknown;
}

interface ConfigKey {
  readonly key: string;
  readonly schema: Schema;
}

/** Every key that has a row of its own: the leaves, lists and the map of upstreams; sections have headings instead. */
function configKeys(schema: Schema, at = ''): ConfigKey[] {
  const found: ConfigKey[] = [];
  for (const [name, child] of Object.entries(schema.properties ?? {})) {
    if (typeof child === 'boolean') continue;
    const key = at === '' ? name : `${at}.${name}`;
    const isSection = child.properties !== undefined && !isSecretReference(child);
    if (!isSection) found.push({ key, schema: child });
    if (!isSecretReference(child) && !(child.anyOf ?? []).some(isSecretReference))
      found.push(...configKeys(child, key));
  }
  const { additionalProperties, items } = schema;
  if (typeof additionalProperties === 'object') found.push(...configKeys(additionalProperties, `${at}.NAME`));
  if (items !== undefined) found.push(...configKeys(items, `${at}[]`));
  for (const branch of [...(schema.anyOf ?? []), ...(schema.oneOf ?? [])]) found.push(...configKeys(branch, at));
  return found;
}

function isSecretReference({ properties }: Schema): boolean {
  return Object.keys(properties ?? {}).join() === 'env,file';
}

function byFirst<T>(rows: readonly (readonly T[])[]): (readonly T[])[] {
  return rows.toSorted(([a], [b]) => (String(a) < String(b) ? -1 : 1));
}
