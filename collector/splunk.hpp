// splunk: what the clients of Splunk's HTTP Event Collector send: events in JSON, one after the
// other, which are records as they were sent; and raw lines, each of which is a record with the
// query's host, source, sourcetype, index and time.
// https://docs.splunk.com/Documentation/Splunk/latest/Data/FormateventsforHTTPEventCollector
#pragma once

#include "decoded_body.hpp"

#include <string_view>

namespace sapwood::collector {

/// What is wrong is said in Splunk's words, with `event N` behind them where it is one of several.
namespace splunk_words {
inline constexpr std::string_view no_data = "No data";
inline constexpr std::string_view invalid = "Invalid data format";
inline constexpr std::string_view required = "Event field is required";
inline constexpr std::string_view blank = "Event field cannot be blank";
inline constexpr std::string_view fields = "Error in handling indexed fields";
} // namespace splunk_words

/// `{"time":1426279439,"host":"web","event":"a line"}{"event":{"level":"info"},"fields":{}}`
void decode_splunk_events(std::string_view body, decoded_body& to);

/// Lines of any bytes. `query` is the target's, behind the question mark.
void decode_splunk_raw(std::string_view body, std::string_view query, decoded_body& to);

} // namespace sapwood::collector
