// elasticsearch: what the clients of Elasticsearch's and OpenSearch's `_bulk` send: a line that
// says what to do, and one with the document, which is a record as it was sent. Each is judged by
// itself, and the answer has a status for each.
// https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-bulk
#pragma once

#include "decoded_body.hpp"

#include <string>
#include <string_view>

namespace sapwood::collector {

/// Elastic's clients talk to nobody whose answers do not say so.
inline constexpr std::string_view elastic_field = "X-Elastic-Product: Elasticsearch\r\n";

/// Documents that are wrong are in `reply` alone. `reply` becomes the answer's body, where the
/// records are kept. `index` is what a document's is called where its line does not say.
void decode_bulk(std::string_view body, std::string_view index, decoded_body& to,
                 std::string& reply);

} // namespace sapwood::collector
