import { z } from 'zod';
import { err, ok } from '../../base/result.ts';
import { MCP_NAME_CHARS, TOOL_METHOD } from '../../model/mcp-message.ts';
import { noRepeats, textField } from '../schema/fields.ts';
import { conditionKind } from './condition-kind.ts';

const method = textField(
  {
    description: 'A method of the Model Context Protocol, literally.',
    examples: ['initialize', 'tools/list', TOOL_METHOD],
  },
  (text) => literal(text, /^[A-Za-z0-9_$./-]+$/, 'a method such as tools/call'),
);
const tool = textField({ description: 'The name of a tool, literally.', examples: ['search'] }, (text) =>
  literal(text, /^[^\p{C}*]+$/u, 'the name of a tool'),
);

function literal(text: string, shape: RegExp, what: string) {
  if (text.includes('*')) return err(`${JSON.stringify(text)}: there are no wildcards here; list each by its name`);
  if (shape.test(text) && text.length <= MCP_NAME_CHARS) return ok(text);
  return err(`expected ${what}, got ${JSON.stringify(text)}`);
}

/**
 * The message in the body is one of these: a request or notification of a stated method, and where that is `tools/call` and
 * tools are stated, of one of those; or, with `responses`, an answer to a request of the server. Whatever has no such body
 * (GET, DELETE, a decision for another proxy) does not meet it.
 */
export const mcp = conditionKind({
  schema: z
    .strictObject({
      methods: z
        .array(method)
        .min(1, 'an empty list matches no message')
        .check(noRepeats)
        .optional()
        .describe(
          'Methods that may be called, each by its name. Where it is left out and tools are stated: tools/call alone.',
        ),
      tools: z
        .array(tool)
        .min(1, 'an empty list matches no tool')
        .check(noRepeats)
        .optional()
        .describe('Tools that tools/call may name; every tool where it is left out. Says nothing about other methods.'),
      responses: z
        .boolean()
        .default(false)
        .describe('Whether answers to requests of the server (sampling, elicitation, roots) may pass.'),
    })
    .check((context) => {
      const { methods, tools } = context.value;
      if (methods === undefined && tools === undefined) {
        context.issues.push({
          code: 'custom',
          input: context.value,
          path: [],
          message: 'state "methods", "tools" or both',
        });
      } else if (tools !== undefined && methods !== undefined && !methods.includes(TOOL_METHOD)) {
        const message = `only ${TOOL_METHOD} names a tool, and it is not among the methods`;
        context.issues.push({ code: 'custom', input: tools, path: ['tools'], message });
      }
    })
    .describe('The message of the Model Context Protocol in the body of a POST. Needs a rule for POST alone.'),
  compile({ methods = [TOOL_METHOD], tools, responses }) {
    const named = tools === undefined ? '' : `, ${TOOL_METHOD} of ${tools.join(' or ')}`;
    return {
      name: 'mcp',
      text: `mcp method is ${methods.join(' or ')}${named}${responses ? ', or a response' : ''}`,
      holds: ({ mcp: message }) => {
        if (message === null) return false;
        if (message.method === null) return responses;
        if (!methods.includes(message.method)) return false;
        if (message.method !== TOOL_METHOD || tools === undefined) return true;
        return message.tool !== null && tools.includes(message.tool);
      },
    };
  },
});
