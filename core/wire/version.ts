/** The version of the service and of its client: they are built and shipped together. */
export const VERSION = '0.1.0';
