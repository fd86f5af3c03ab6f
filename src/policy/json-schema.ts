import { z } from 'zod';
import { apiFileSchema } from './schema/api-file.ts';
import { classesFileSchema } from './schema/classes-file.ts';
import { rolesFileSchema } from './schema/roles-file.ts';
import { testFileSchema } from './schema/test-file.ts';

/** A JSON Schema document, draft 2020-12. */
export type JsonSchema = Readonly<Record<string, unknown>>;

/**
 * For every file of a policy folder but the tests. Which kind a file is shows by its one characteristic key, so that an
 * editor complains about the right thing, where `anyOf` would complain about all three.
 */
export function policyJsonSchema(): JsonSchema {
  return {
    $schema: DRAFT,
    title: 'Portcullis policy file',
    description: 'An API policy; roles.yaml and classes.yaml are recognised too.',
    if: { type: 'object', properties: { roles: true }, required: ['roles'] },
    // biome-ignore lint/suspicious/noThenProperty: a keyword of JSON Schema, in an object that nobody awaits
    then: { $ref: '#/$defs/roles' },
    else: {
      if: { type: 'object', properties: { classes: true }, required: ['classes'] },
      // biome-ignore lint/suspicious/noThenProperty: a keyword of JSON Schema, in an object that nobody awaits
      then: { $ref: '#/$defs/classes' },
      else: { $ref: '#/$defs/api' },
    },
    $defs: { api: embedded(apiFileSchema), roles: embedded(rolesFileSchema), classes: embedded(classesFileSchema) },
  };
}

export function rolesJsonSchema(): JsonSchema {
  return { ...jsonSchema(rolesFileSchema), title: 'Portcullis roles' };
}

export function classesJsonSchema(): JsonSchema {
  return { ...jsonSchema(classesFileSchema), title: 'Portcullis token classes' };
}

export function policyTestJsonSchema(): JsonSchema {
  return { ...jsonSchema(testFileSchema), title: 'Portcullis policy tests' };
}

const DRAFT = 'https://json-schema.org/draft/2020-12/schema';

function jsonSchema(schema: z.ZodType): JsonSchema {
  return { ...z.toJSONSchema(schema, { target: 'draft-2020-12', io: 'input' }) };
}

/** Inside another schema a dialect of its own has no place. */
function embedded(schema: z.ZodType): JsonSchema {
  const { $schema: _, ...rest } = jsonSchema(schema);
  return rest;
}
