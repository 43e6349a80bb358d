// loki: what Grafana Loki's clients send: `POST /loki/api/v1/push` in JSON. A record has the line
// as `message`, the client's time as `timestamp`, and the stream's labels and the line's structured
// metadata as members. https://grafana.com/docs/loki/latest/reference/loki-http-api/
#pragma once

#include "decoded_body.hpp"

#include <string_view>

namespace sapwood::collector {

/// `{"streams":[{"stream":{"app":"shop"},"values":[["1570818238000000000","a line",{...}]]}]}`
void decode_loki(std::string_view body, decoded_body& to);

} // namespace sapwood::collector
