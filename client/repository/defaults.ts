/** The service's own: where commands work that are told of no other. */
export const DEFAULT_REPOSITORY = '/var/lib/cfsmountd/repo';
/** Where the service looks without being told. */
export const DEFAULT_REPOSITORIES: readonly string[] = [DEFAULT_REPOSITORY, '/sysroot/composefs'];
