/* Functions for what DPDK has only as static inline, and the stream for its log. */
#include "wrapper.h"

#include <stdio.h>

int _rte_errno(void)
{
	return rte_errno;
}

uint16_t _rte_eth_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **frames, uint16_t count)
{
	return rte_eth_rx_burst(port, queue, frames, count);
}

uint16_t _rte_eth_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **frames, uint16_t count)
{
	return rte_eth_tx_burst(port, queue, frames, count);
}

struct rte_mbuf *_rte_pktmbuf_alloc(struct rte_mempool *pool)
{
	return rte_pktmbuf_alloc(pool);
}

int _rte_pktmbuf_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **frames, unsigned int count)
{
	return rte_pktmbuf_alloc_bulk(pool, frames, count);
}

void _rte_pktmbuf_free(struct rte_mbuf *frame)
{
	rte_pktmbuf_free(frame);
}

void _rte_mempool_put_bulk(struct rte_mempool *pool, void *const *objects, unsigned int count)
{
	rte_mempool_put_bulk(pool, objects, count);
}

static void (*log_sink)(const char *text, size_t length);

static ssize_t write_log(void *cookie, const char *text, size_t length)
{
	(void)cookie;
	log_sink(text, length);
	return (ssize_t)length;
}

/* Sends DPDK's log to `sink` from now on. Answers -1 where no stream can be made. */
int shim_capture_log(void (*sink)(const char *text, size_t length))
{
	cookie_io_functions_t calls = { .write = write_log };
	FILE *stream;

	log_sink = sink;
	stream = fopencookie(NULL, "w", calls);
	if (stream == NULL)
		return -1;
	return rte_openlog_stream(stream);
}
