/* The streams of bench/upstream.py in C: 20,000 chunks a second leave most of a core to the load generator.
 *
 *     upstream <port>
 *
 * Same paths, same bytes on the wire, same /stats. One thread, epoll, a heap of due times; each chunk is one send(). */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_FD = 65536, REQUEST = 32768, MAX_PAD = 8192, MAX_WRITE = 16, MODEL = 128 };

typedef struct {
    char *data;
    size_t size, room;
} Bytes;

typedef struct {
    int used, streaming, usage, pad, per_write;
    size_t heap_at; /* place in the heap, 0 when in none */
    long chunks, sent;
    int64_t gap, started, due; /* microseconds */
    char model[MODEL];
    Bytes in, out; /* out: what the socket did not take yet */
} Connection;

static Connection connections[MAX_FD];
static int heap[MAX_FD + 1], poller;
static size_t heap_size;
static long streams_open, served, cut;

static int64_t now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void append(Bytes *to, const char *data, size_t size) {
    if (to->size + size + 1 > to->room) {
        to->room = 2 * (to->size + size + 1);
        if (!(to->data = realloc(to->data, to->room))) abort();
    }
    memcpy(to->data + to->size, data, size);
    to->size += size;
    to->data[to->size] = 0;
}

static void consume(Bytes *from, size_t size) {
    from->size -= size;
    memmove(from->data, from->data + size, from->size + 1);
}

/* ---- due times ---- */

static int before(int a, int b) { return connections[a].due < connections[b].due; }

static void put(size_t at, int fd) {
    heap[at] = fd;
    connections[fd].heap_at = at;
}

static void sift(size_t at, int fd) {
    for (; at > 1 && before(fd, heap[at / 2]); at /= 2) put(at, heap[at / 2]);
    for (size_t child; (child = 2 * at) <= heap_size; at = child) {
        if (child < heap_size && before(heap[child + 1], heap[child])) child++;
        if (!before(heap[child], fd)) break;
        put(at, heap[child]);
    }
    put(at, fd);
}

static void schedule(int fd, int64_t due) {
    connections[fd].due = due;
    sift(connections[fd].heap_at ? connections[fd].heap_at : ++heap_size, fd);
}

static void unschedule(int fd) {
    size_t at = connections[fd].heap_at;
    if (!at) return;
    connections[fd].heap_at = 0;
    int last = heap[heap_size--];
    if (last != fd) sift(at, last);
}

/* ---- bytes out ---- */

static void watch(int fd, uint32_t events, int how) {
    struct epoll_event event = {.events = events, .data.fd = fd};
    epoll_ctl(poller, how, fd, &event);
}

static void hang_up(int fd) {
    Connection *c = &connections[fd];
    if (c->streaming) streams_open--, cut++;
    unschedule(fd);
    free(c->in.data);
    free(c->out.data);
    memset(c, 0, sizeof *c);
    close(fd);
}

static int send_out(int fd, const char *data, size_t size) { /* 0 when the reader is gone */
    Connection *c = &connections[fd];
    ssize_t taken = c->out.size ? 0 : send(fd, data, size, MSG_NOSIGNAL);
    if (taken < 0 && errno != EAGAIN) return hang_up(fd), 0;
    if (taken < 0) taken = 0;
    if ((size_t)taken < size) {
        if (!c->out.size) watch(fd, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
        append(&c->out, data + taken, size - (size_t)taken);
    }
    return 1;
}

static void reply(int fd, const char *status, const char *body) {
    Bytes answer = {0};
    char head[256];
    int size = snprintf(head, sizeof head, "HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %zu\r\n\r\n",
                        status, strlen(body));
    append(&answer, head, (size_t)size);
    append(&answer, body, strlen(body));
    send_out(fd, answer.data, answer.size);
    free(answer.data);
}

/* ---- one stream ---- */

static size_t event(char *to, const char *format, ...) { /* one SSE event as one HTTP chunk */
    static char data[MAX_PAD + 2048];
    va_list values;
    va_start(values, format);
    int size = vsnprintf(data, sizeof data, format, values);
    va_end(values);
    return (size_t)sprintf(to, "%x\r\ndata: %s\n\n\r\n", size + 8, data);
}

#define FRAME "{\"id\":\"chatcmpl-mock0000000000000000000001\",\"object\":\"chat.completion.chunk\",\"created\":1700000000," \
              "\"model\":\"%s\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_0000000000\",\"choices\":"
#define USAGE "\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":%ld,\"total_tokens\":%ld}"

static size_t delta(Connection *c, char *to, const char *delta, const char *finish) {
    return event(to, FRAME "[{\"index\":0,\"delta\":%s,\"logprobs\":null,\"finish_reason\":%s}]%s}", c->model, delta, finish,
                 c->usage ? ",\"usage\":null" : "");
}

static void text_of(Connection *c, char *to) {
    int size = sprintf(to, " T~%016lld", (long long)now_us());
    memset(to + size, 'x', (size_t)c->pad);
    to[size + c->pad] = 0;
}

static void step(int fd) { /* write what is due once; a socket that is full puts it off until it drains */
    static char out[(MAX_WRITE + 3) * (MAX_PAD + 2048)], text[MAX_PAD + 64], content[MAX_PAD + 128];
    Connection *c = &connections[fd];
    size_t size = 0;
    unschedule(fd);
    for (int i = 0; i < c->per_write && c->sent < c->chunks; i++, c->sent++) {
        text_of(c, text);
        sprintf(content, "{\"content\":\"%s\"}", text);
        size += delta(c, out + size, content, "null");
    }
    if (c->sent < c->chunks) {
        if (send_out(fd, out, size) && !c->out.size) schedule(fd, c->started + c->sent / c->per_write * c->gap);
        return;
    }
    size += delta(c, out + size, "{}", "\"stop\"");
    if (c->usage) size += event(out + size, FRAME "[]," USAGE "}", c->model, c->chunks, c->chunks + 10);
    size += event(out + size, "[DONE]");
    size += (size_t)sprintf(out + size, "0\r\n\r\n");
    c->streaming = 0, streams_open--, served++;
    send_out(fd, out, size);
}

static void begin(int fd) {
    static char out[4096];
    Connection *c = &connections[fd];
    size_t size = (size_t)sprintf(out, "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
                                       "cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n");
    size += delta(c, out + size, "{\"role\":\"assistant\",\"content\":\"\"}", "null");
    c->streaming = 1, c->sent = 0, c->started = now_us(), streams_open++;
    if (send_out(fd, out, size)) step(fd);
}

static void whole(int fd) {
    static char text[MAX_PAD + 64];
    Connection *c = &connections[fd];
    Bytes body = {0};
    char part[1024];
    int size = snprintf(part, sizeof part, "{\"id\":\"chatcmpl-mock0000000000000000000001\",\"object\":\"chat.completion\","
                        "\"created\":1700000000,\"model\":\"%s\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\","
                        "\"content\":\"", c->model);
    append(&body, part, (size_t)size);
    for (long i = 0; i < c->chunks; i++) text_of(c, text), append(&body, text, strlen(text));
    size = snprintf(part, sizeof part, "\",\"refusal\":null},\"logprobs\":null,\"finish_reason\":\"stop\"}]," USAGE "}",
                    c->chunks, c->chunks + 10);
    append(&body, part, (size_t)size);
    served++;
    reply(fd, "200 OK", body.data);
    free(body.data);
}

/* ---- requests ---- */

static void read_model(Connection *c, const char *body) {
    const char *at = strstr(body, "\"model\"");
    if (!at || sscanf(at, "\"model\" : \"%127[^\"\\]\"", c->model) != 1) strcpy(c->model, "gpt-4o");
}

static void complete(int fd, const char *body) {
    Connection *c = &connections[fd];
    char gap[32]; /* read as text: %lf would take "0x4" for a hexadecimal number */
    const char *spec = strstr(body, "mock-");
    c->chunks = c->pad = 0, c->per_write = 1;
    if (!spec || sscanf(spec, "mock-%ldx%31[0-9.]x%dx%d", &c->chunks, gap, &c->pad, &c->per_write) < 2) {
        reply(fd, "400 Bad Request", "{\"error\":{\"message\":\"no mock-<chunks>x<gap ms> in the request\"}}");
        return;
    }
    if (c->pad < 0 || c->pad > MAX_PAD || c->per_write > MAX_WRITE) {
        reply(fd, "400 Bad Request", "{\"error\":{\"message\":\"at most 8192 bytes of pad and 16 chunks a write\"}}");
        return;
    }
    if (c->per_write < 1) c->per_write = 1;
    c->gap = (int64_t)(atof(gap) * 1000);
    c->usage = strstr(body, "\"include_usage\":true") || strstr(body, "\"include_usage\": true");
    read_model(c, body);
    if (strstr(body, "\"stream\":true") || strstr(body, "\"stream\": true")) begin(fd);
    else whole(fd);
}

static void answer(int fd, const char *head, const char *body) {
    char stats[128];
    if (!strncmp(head, "POST /v1/chat/completions ", 26)) {
        complete(fd, body);
    } else if (!strncmp(head, "GET /stats ", 11)) {
        snprintf(stats, sizeof stats, "{\"open\":%ld,\"served\":%ld,\"cut\":%ld}", streams_open, served, cut);
        reply(fd, "200 OK", stats);
    } else if (!strncmp(head, "GET /v1/models ", 15)) {
        reply(fd, "200 OK", "{\"object\":\"list\",\"data\":[{\"id\":\"gpt-4o\",\"object\":\"model\",\"created\":1700000000,"
                            "\"owned_by\":\"mock\"}]}");
    } else {
        reply(fd, "404 Not Found", "{\"error\":{\"message\":\"nothing there\"}}");
    }
}

static void take_requests(int fd) {
    Connection *c = &connections[fd];
    while (c->used && !c->streaming && c->in.size) {
        char *end = strstr(c->in.data, "\r\n\r\n");
        if (!end) return;
        *end = 0;
        char *length = strcasestr(c->in.data, "\r\ncontent-length:");
        size_t head = (size_t)(end - c->in.data) + 4, body = length ? strtoul(length + 17, NULL, 10) : 0;
        if (!length && strcasestr(c->in.data, "\r\ntransfer-encoding:")) {
            reply(fd, "411 Length Required", "{\"error\":{\"message\":\"send the body with content-length\"}}");
            if (c->used) hang_up(fd);
            return;
        }
        *end = '\r';
        if (c->in.size < head + body) return;
        char kept = c->in.data[head + body];
        c->in.data[head + body] = 0;
        answer(fd, c->in.data, c->in.data + head);
        if (!c->used) return;
        c->in.data[head + body] = kept;
        consume(&c->in, head + body);
    }
}

static void on_input(int fd) {
    static char data[REQUEST];
    ssize_t size = recv(fd, data, sizeof data, 0);
    if (size == 0 || (size < 0 && errno != EAGAIN)) return hang_up(fd);
    if (size < 0) return;
    append(&connections[fd].in, data, (size_t)size);
    take_requests(fd);
}

static void on_room(int fd) {
    Connection *c = &connections[fd];
    if (!c->out.size) return;
    ssize_t taken = send(fd, c->out.data, c->out.size, MSG_NOSIGNAL);
    if (taken < 0 && errno != EAGAIN) return hang_up(fd);
    if (taken > 0) consume(&c->out, (size_t)taken);
    if (c->out.size) return;
    watch(fd, EPOLLIN, EPOLL_CTL_MOD);
    if (c->streaming) schedule(fd, c->started + c->sent / c->per_write * c->gap);
}

static void accept_all(int listener) {
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        if (fd >= MAX_FD) { close(fd); continue; }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        connections[fd].used = 1;
        watch(fd, EPOLLIN, EPOLL_CTL_ADD);
    }
}

static void write_due(void) { /* each stream that is due now, once: endless ones interleave */
    static int due[MAX_FD];
    int count = 0;
    for (int64_t now = now_us(); heap_size && connections[heap[1]].due <= now; unschedule(due[count++])) due[count] = heap[1];
    for (int i = 0; i < count; i++) {
        step(due[i]);
        if (!connections[due[i]].streaming) take_requests(due[i]);
    }
}

static int wait_ms(void) {
    if (!heap_size) return -1;
    int64_t left = connections[heap[1]].due - now_us();
    return left <= 0 ? 0 : (int)((left + 999) / 1000);
}

int main(int argc, char **argv) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event events[512];
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
    address.sin_port = htons((uint16_t)(argc > 1 ? atoi(argv[1]) : 9100));
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096)) return perror("bind"), 1;
    poller = epoll_create1(0);
    watch(listener, EPOLLIN, EPOLL_CTL_ADD);
    for (;;) {
        int count = epoll_wait(poller, events, 512, wait_ms());
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) { accept_all(fd); continue; }
            if (connections[fd].used && events[i].events & EPOLLOUT) on_room(fd);
            if (connections[fd].used && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) on_input(fd);
        }
        write_due();
    }
}
