import type { AnswerHead } from './answer-heads.ts';
import type { RequestBody } from './request-body.ts';

/** One request as it goes to an upstream. */
export interface UpstreamRequest {
  readonly method: string;
  /** Path and query. */
  readonly target: string;
  /** Lines of the head that have been checked already, each with its CRLF. */
  readonly lines: string;
  /** The other fields, name and value in turn, the framing among them. */
  readonly fields: readonly string[];
  /** Sent in chunks where `fields` hold no Content-Length. */
  readonly body: RequestBody | null;
  /** True where `fields` hold no Content-Length. */
  readonly chunked: boolean;
}

/** What hears of an answer. None of them may throw, but `onHead` and `onBody` may throw UpstreamInvalid. */
export interface UpstreamHandler {
  /** Interim answers too. */
  onHead(head: AnswerHead): void;
  /** The bytes are valid during the call only. */
  onBody(part: Buffer): void;
  /** All of the body, which came together with its head; latin1. */
  onWholeBody(body: string): void;
  onEnd(trailers: readonly string[]): void;
  /** There is no answer, or no more of it. The last that is heard. */
  onFailure(error: Error): void;
}

/** The handler's hold on the request under way. After its end none of these does anything. */
export interface UpstreamCall {
  pause(): void;
  resume(): void;
  /** Ends the request with its connection; nothing more is heard of it. */
  abort(): void;
}
