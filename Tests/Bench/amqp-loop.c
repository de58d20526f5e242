// What the queue's driver is measured against: the same work in a plain C loop on librabbitmq.
//
//   amqp-loop publish EXCHANGE KEY COUNT BATCH AHEAD    prints confirmed messages per second
//   amqp-loop take QUEUE COUNT CHANNELS                 prints deliveries acknowledged per second
//
// The broker's address is in KILN_TEST_AMQP_URL. Exchange and queue are there already, made by the
// driver; connecting and subscribing are not in the time.
#if __has_include(<rabbitmq-c/amqp.h>)
#include <rabbitmq-c/amqp.h>
#include <rabbitmq-c/framing.h>
#include <rabbitmq-c/tcp_socket.h>
#else
#include <amqp.h>
#include <amqp_framing.h>
#include <amqp_tcp_socket.h>
#endif
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

static amqp_connection_state_t state;

static void die(char const *what) {
  fprintf(stderr, "amqp-loop: %s\n", what);
  exit(1);
}

static void check(amqp_rpc_reply_t reply, char const *what) {
  if (reply.reply_type != AMQP_RESPONSE_NORMAL) die(what);
}

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void connect_to_broker(void) {
  char const *address = getenv("KILN_TEST_AMQP_URL");
  if (!address) die("KILN_TEST_AMQP_URL is not set");
  char *url = strdup(address);
  struct amqp_connection_info info;
  amqp_default_connection_info(&info);
  if (amqp_parse_url(url, &info) != AMQP_STATUS_OK) die("the broker's URL cannot be read");
  state = amqp_new_connection();
  amqp_socket_t *socket = amqp_tcp_socket_new(state);
  if (!socket || amqp_socket_open(socket, info.host, info.port) != AMQP_STATUS_OK) die("no connection");
  check(
      amqp_login(state, info.vhost, 2047, 131072, 0, AMQP_SASL_METHOD_PLAIN, info.user, info.password), "no login");
  free(url);
}

static void open_channel(amqp_channel_t channel) {
  amqp_channel_open(state, channel);
  check(amqp_get_rpc_reply(state), "no channel");
}

// One frame; 0 if none came (only without `wait`).
static int next_frame(amqp_frame_t *frame, int wait) {
  struct timeval none = {0, 0};
  int status = amqp_simple_wait_frame_noblock(state, frame, wait ? NULL : &none);
  if (status == AMQP_STATUS_TIMEOUT) return 0;
  if (status != AMQP_STATUS_OK) die(amqp_error_string2(status));
  if (frame->frame_type == AMQP_FRAME_METHOD && (frame->payload.method.id == AMQP_CHANNEL_CLOSE_METHOD ||
                                                 frame->payload.method.id == AMQP_CONNECTION_CLOSE_METHOD))
    die("the broker closed the channel");
  return 1;
}

// MARK: Publishing

static unsigned char *confirmed;
static uint64_t low = 1, sent, open_count;

static void settle(uint64_t tag) {
  if (confirmed[tag]) return;
  confirmed[tag] = 1;
  open_count--;
}

static void read_confirms(int wait) {
  amqp_frame_t frame;
  while (next_frame(&frame, wait)) {
    wait = 0;
    if (frame.frame_type != AMQP_FRAME_METHOD) continue;
    if (frame.payload.method.id == AMQP_BASIC_ACK_METHOD) {
      amqp_basic_ack_t *ack = frame.payload.method.decoded;
      for (uint64_t tag = ack->multiple ? low : ack->delivery_tag; tag <= ack->delivery_tag; tag++) settle(tag);
      while (low <= sent && confirmed[low]) low++;
    } else {
      die("a message was refused");
    }
  }
  amqp_maybe_release_buffers(state);
}

static void publish(char const *exchange, char const *key, uint64_t count, uint64_t batch, uint64_t ahead) {
  open_channel(1);
  amqp_confirm_select(state, 1);
  check(amqp_get_rpc_reply(state), "no confirms");
  confirmed = calloc(count + 1, 1);
  amqp_bytes_t exchange_bytes = amqp_cstring_bytes(exchange), key_bytes = amqp_cstring_bytes(key);
  double began = seconds();
  while (sent < count) {
    char body[128], identifier[64];
    snprintf(body, sizeof body, "{\"dispatch\":1,\"job\":\"%026" PRIu64 "\",\"v\":1}", sent);
    snprintf(identifier, sizeof identifier, "%026" PRIu64 ":1", sent);
    amqp_basic_properties_t properties;
    memset(&properties, 0, sizeof properties);
    properties._flags = AMQP_BASIC_DELIVERY_MODE_FLAG | AMQP_BASIC_MESSAGE_ID_FLAG;
    properties.delivery_mode = 2;
    properties.message_id = amqp_cstring_bytes(identifier);
    sent++;
    open_count++;
    if (amqp_basic_publish(state, 1, exchange_bytes, key_bytes, 1, 0, &properties, amqp_cstring_bytes(body)))
      die("not published");
    while (open_count >= ahead || ((sent % batch == 0 || sent == count) && open_count)) read_confirms(1);
    if (sent % 64 == 0) read_confirms(0);
  }
  printf("%.1f\n", (double)count / (seconds() - began));
}

// MARK: Taking

static void take(char const *queue, uint64_t count, int channels) {
  uint64_t *tags = calloc((size_t)channels + 1, sizeof *tags);
  uint64_t *left = calloc((size_t)channels + 1, sizeof *left);
  for (int channel = 1; channel <= channels; channel++) {
    open_channel((amqp_channel_t)channel);
    amqp_basic_qos(state, (amqp_channel_t)channel, 0, 1, 0);
    check(amqp_get_rpc_reply(state), "no prefetch");
  }
  for (int channel = 1; channel <= channels; channel++) {
    amqp_basic_consume(
        state, (amqp_channel_t)channel, amqp_cstring_bytes(queue), amqp_cstring_bytes("slot"), 0, 0, 0,
        amqp_empty_table);
    check(amqp_get_rpc_reply(state), "no consumer");
  }
  double began = 0;
  uint64_t taken = 0;
  while (taken < count) {
    amqp_frame_t frame;
    if (!next_frame(&frame, 1)) continue;
    if (!began) began = seconds();
    amqp_channel_t channel = frame.channel;
    int complete = 0;
    if (frame.frame_type == AMQP_FRAME_METHOD && frame.payload.method.id == AMQP_BASIC_DELIVER_METHOD) {
      tags[channel] = ((amqp_basic_deliver_t *)frame.payload.method.decoded)->delivery_tag;
    } else if (frame.frame_type == AMQP_FRAME_HEADER) {
      left[channel] = frame.payload.properties.body_size;
      complete = left[channel] == 0;
    } else if (frame.frame_type == AMQP_FRAME_BODY) {
      left[channel] -= frame.payload.body_fragment.len;
      complete = left[channel] == 0;
    }
    if (complete) {
      if (amqp_basic_ack(state, channel, tags[channel], 0)) die("not acknowledged");
      taken++;
    }
    amqp_maybe_release_buffers_on_channel(state, channel);
  }
  printf("%.1f\n", (double)(count - 1) / (seconds() - began));
}

int main(int argc, char **argv) {
  if (argc == 7 && !strcmp(argv[1], "publish")) {
    connect_to_broker();
    publish(
        argv[2], argv[3], strtoull(argv[4], NULL, 10), strtoull(argv[5], NULL, 10), strtoull(argv[6], NULL, 10));
  } else if (argc == 5 && !strcmp(argv[1], "take")) {
    connect_to_broker();
    take(argv[2], strtoull(argv[3], NULL, 10), atoi(argv[4]));
  } else {
    die("publish EXCHANGE KEY COUNT BATCH AHEAD | take QUEUE COUNT CHANNELS");
  }
  amqp_connection_close(state, AMQP_REPLY_SUCCESS);
  amqp_destroy_connection(state);
  return 0;
}
