/** What a policy sees of a message of the Model Context Protocol (a JSON-RPC 2.0 message in the body of a POST). */
export interface McpMessage {
  /** Null for an answer to a request of the server: it names none. */
  readonly method: string | null;
  /** `params.name` of `tools/call`, else null. */
  readonly tool: string | null;
}

/** The one method whose message names a tool. */
export const TOOL_METHOD = 'tools/call';

/** Longest method and tool name, characters. */
export const MCP_NAME_CHARS = 256;
