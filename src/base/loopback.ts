/** Whether the host of a URL (as `URL.hostname` writes it) is this machine, whatever a resolver says. */
export function isLoopbackHost(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127(\.\d{1,3}){3}$/.test(hostname);
}
