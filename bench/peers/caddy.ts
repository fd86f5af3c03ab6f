/** A proxy that checks nothing. */
export function caddyfile(options: { port: number; upstream: number }): string {
  return `{
	admin off
	auto_https off
}

http://127.0.0.1:${options.port} {
	bind 127.0.0.1
	reverse_proxy 127.0.0.1:${options.upstream}
}
`;
}
