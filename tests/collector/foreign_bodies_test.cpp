// Records out of the bodies that other programs' clients send: Loki's, Elasticsearch's, Splunk's
// and OpenTelemetry's.
#include "support/hostile_strings.hpp"

#include <collector/decoded_body.hpp>
#include <collector/elasticsearch.hpp>
#include <collector/json_decoder.hpp>
#include <collector/loki.hpp>
#include <collector/otlp.hpp>
#include <collector/splunk.hpp>

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace std::string_literals;
using sapwood::level;
using sapwood::collector::append_json_text;
using sapwood::collector::body_limits;
using sapwood::collector::decode_bulk;
using sapwood::collector::decode_loki;
using sapwood::collector::decode_otlp;
using sapwood::collector::decode_splunk_events;
using sapwood::collector::decode_splunk_raw;
using sapwood::collector::decoded_body;
using sapwood::collector::json_decoder;
using sapwood::collector::json_framing;

using records = std::vector<std::string>;

/// What is in it, each checked to be an object of its own; or what is wrong.
records records_of(const decoded_body& body) {
    if (!body.is_well()) {
        CHECK(body.size() == 0);
        return {std::to_string(body.status()) + " " + body.error()};
    }
    records found;
    json_decoder again;
    for (std::size_t i = 0; i < body.size(); ++i) {
        found.emplace_back(body[i].json);
        CHECK(again.decode(found.back(), json_framing::any).size() == 1);
    }
    return found;
}

records loki(std::string_view text, const body_limits& limits = {}) {
    decoded_body body(limits);
    decode_loki(text, body);
    return records_of(body);
}

records splunk(std::string_view text) {
    decoded_body body;
    decode_splunk_events(text, body);
    return records_of(body);
}

/// With the answer behind them where that is one of its own.
records otlp(std::string_view text, const body_limits& limits = {}) {
    decoded_body body(limits);
    std::string reply;
    decode_otlp(text, body, reply);
    records found = records_of(body);
    if (!reply.empty()) {
        found.push_back(reply);
    }
    return found;
}

/// One log record of OpenTelemetry's in what goes around it.
std::string otlp_body(std::string_view record, std::string_view resource = "",
                      std::string_view scope = "") {
    return fmt::format(
        R"({{"resourceLogs":[{{"resource":{{{}}},"scopeLogs":[{{"scope":{{{}}},"logRecords":[{}]}}]}}]}})",
        resource, scope, record);
}

struct bulk_outcome {
    records found;
    std::string reply;
};

bulk_outcome bulk(std::string_view text, const body_limits& limits = {}) {
    decoded_body body(limits);
    std::string reply;
    decode_bulk(text, "app", body, reply);
    return {records_of(body), reply};
}

level importance_of(void (*decode)(std::string_view, decoded_body&), std::string_view text) {
    decoded_body body;
    decode(text, body);
    REQUIRE(body.size() == 1);
    return body[0].importance;
}

} // namespace

TEST_SUITE("foreign_bodies") {
    TEST_CASE("what is said of documents that are wrong is bounded, however many they are") {
        std::string text;
        for (int i = 0; i < 100'000; ++i) {
            text += "{\"index\":{}}\n{\n";
        }
        decoded_body body;
        std::string reply;
        decode_bulk(text, "app", body, reply);
        CHECK(body.status() == 413);
        CHECK(body.error().find("the answer would be longer than 4194304 bytes") !=
              std::string::npos);
        CHECK(reply.size() < (5u << 20));
    }

    TEST_CASE("a stream of Loki's is a record a line, with its labels, its time and its metadata") {
        CHECK(
            loki(R"({"streams":[{"stream":{"foo":"bar2","app":"shop"},"values":[
                       ["1570818238000000000","fizzbuzz"],
                       ["1570818238000000001","with \"more\"",{"trace_id":"0242ac120002"}]]},
                       {"stream":{},"values":[["0",""]]}]})") ==
            records{
                R"({"timestamp":"2019-10-11T18:23:58.000000000Z","message":"fizzbuzz","foo":"bar2","app":"shop"})",
                R"({"timestamp":"2019-10-11T18:23:58.000000001Z","message":"with \"more\"","foo":"bar2","app":"shop","trace_id":"0242ac120002"})",
                R"({"timestamp":"1970-01-01T00:00:00.000000000Z","message":""})"});
        CHECK(loki(R"({"streams":[]})").empty());
        CHECK(loki(R"({"streams":[{"stream":{"a":"b"},"values":[]}]})").empty());
    }

    TEST_CASE("a time is told whatever number it is, also before 1970") {
        const auto time_of = [](std::string_view nanoseconds) {
            return loki(fmt::format(R"({{"streams":[{{"stream":{{}},"values":[["{}",""]]}}]}})",
                                    nanoseconds));
        };
        CHECK(time_of("-9223372036854775808") ==
              records{R"({"timestamp":"1677-09-21T00:12:43.145224192Z","message":""})"});
        CHECK(time_of("-1") ==
              records{R"({"timestamp":"1969-12-31T23:59:59.999999999Z","message":""})"});
        CHECK(time_of("-1000000000") ==
              records{R"({"timestamp":"1969-12-31T23:59:59.000000000Z","message":""})"});
        CHECK(time_of("9223372036854775807") ==
              records{R"({"timestamp":"2262-04-11T23:47:16.854775807Z","message":""})"});
    }

    TEST_CASE("a label is never the record's own member, nor metadata a label") {
        CHECK(loki(R"({"streams":[{"stream":{"message":"m","timestamp":"t","a":"1"},
                       "values":[["1","line",{"a":"2","message":"x","b":3}]]}]})") ==
              records{R"({"timestamp":"1970-01-01T00:00:00.000000001Z","message":"line",)"
                      R"("labels.message":"m","labels.timestamp":"t","a":"1",)"
                      R"("metadata.a":"2","metadata.message":"x","b":3})"});
    }

    TEST_CASE("what is no push of Loki's has none of its records taken, and is told where") {
        const auto wrong = [](std::string_view values) {
            return loki(fmt::format(
                R"({{"streams":[{{"stream":{{}},"values":[["1","good"]]}},{{"stream":{{}},"values":[{}]}}]}})",
                values));
        };
        CHECK(wrong(R"(["1","a"],["x","b"])") ==
              records{"400 stream 2, value 2: its time is not nanoseconds since 1970, as a "
                      "string"});
        CHECK(wrong(R"([1,"b"])")[0].starts_with("400 stream 2, value 1: its time"));
        CHECK(wrong(R"(["1"])")[0].starts_with("400 stream 2, value 1: its time"));
        CHECK(wrong(R"(["9223372036854775808",""])")[0].starts_with("400 stream 2, value 1"));
        CHECK(wrong(R"(["1",2])") == records{"400 stream 2, value 1: its line is not a string"});
        CHECK(wrong(R"(["1","",[]])")[0].starts_with("400 stream 2, value 1: its structured"));
        CHECK(wrong(R"(["1","",{},1])")[0].starts_with("400 stream 2, value 1: it has more"));
        CHECK(wrong("{}")[0].starts_with("400 stream 2, value 1: it is not an array"));
        CHECK(loki(R"({"streams":[{"values":[]}]})")[0].starts_with("400 stream 1: it has no"));
        CHECK(loki("{}") == records{"400 the body has no array \"streams\""});
        CHECK(loki("[]") == records{"400 the body is not an object"});
        CHECK(loki("") == records{"400 the body is empty"});
        CHECK(loki(R"({"streams":[]}{)")[0].starts_with("400 "));
        CHECK(loki("{\"streams\":[{\"stream\":{},\"values\":[[\"1\",\"\xff\"]]}]}") ==
              records{"400 it is not UTF-8"});
    }

    TEST_CASE("labels that go with every line do not make much of little") {
        std::string values = R"(["1","x"])";
        for (int i = 0; i < 1000; ++i) {
            values += R"(,["1","x"])";
        }
        const std::string text =
            fmt::format(R"({{"streams":[{{"stream":{{"a":"{}"}},"values":[{}]}}]}})",
                        std::string(10'000, 'y'), values);
        CHECK(loki(text).size() == 1001);
        CHECK(loki(text, {.made_bytes_max = 1'000'000})[0].starts_with("413 "));
        CHECK(loki(text, {.json = {.records_max = 1000}}) ==
              records{"413 the body has more than 1000 records"});
        CHECK(loki(text, {.json = {.record_bytes_max = 5000}}) ==
              records{"413 record 1: it is longer than 5000 bytes"});
        CHECK(loki(text, {.values_max = 1000}) ==
              records{"413 the body has more than 1000 values"});
    }

    TEST_CASE("a hundred thousand brackets are refused by every interface") {
        const std::string open(100'000, '[');
        const std::string nested = R"({"streams":)" + open + std::string(100'000, ']') + "}";
        for (const std::string& text : {open, nested, R"({"event":)" + open}) {
            CHECK(loki(text)[0].starts_with("400 "));
            CHECK(otlp(text)[0].starts_with("400 "));
            CHECK(splunk(text)[0].starts_with("400 "));
            CHECK(bulk("{\"index\":{}}\n" + text + "\n").found.empty());
            CHECK(bulk(text + "\n").found[0].starts_with("400 "));
        }
    }

    TEST_CASE("a record of OpenTelemetry's has its body, severity, trace and attributes") {
        CHECK(
            otlp(otlp_body(
                R"({"timeUnixNano":"1544712660300000000","observedTimeUnixNano":"1544712660300000001",
                      "severityNumber":17,"severityText":"Error","traceId":"5B8EFFF798038103D269B633813FC60C",
                      "spanId":"EEE19B7EC3C1B174","flags":1,"body":{"stringValue":"Example log record"},
                      "attributes":[{"key":"string.attribute","value":{"stringValue":"some string"}},
                        {"key":"boolean.attribute","value":{"boolValue":true}},
                        {"key":"int.attribute","value":{"intValue":"10"}},
                        {"key":"double.attribute","value":{"doubleValue":637.704}},
                        {"key":"array.attribute","value":{"arrayValue":{"values":[{"stringValue":"many"},{"intValue":2}]}}},
                        {"key":"map.attribute","value":{"kvlistValue":{"values":[{"key":"some.map.key","value":{"stringValue":"some value"}}]}}},
                        {"key":"bytes","value":{"bytesValue":"AAE="}},{"key":"none","value":{}},
                        {"key":"body","value":{"stringValue":"theirs"}}]})",
                R"("attributes":[{"key":"service.name","value":{"stringValue":"my.service"}}])",
                R"("name":"my.library","version":"1.0.0","attributes":[{"key":"x","value":{"intValue":1}}])")) ==
            records{
                R"({"timestamp":"2018-12-13T14:51:00.300000000Z","observed_timestamp":"2018-12-13T14:51:00.300000001Z",)"
                R"("severity":"Error","message":"Example log record","trace_id":"5B8EFFF798038103D269B633813FC60C",)"
                R"("span_id":"EEE19B7EC3C1B174","flags":1,"string.attribute":"some string","boolean.attribute":true,)"
                R"("int.attribute":10,"double.attribute":637.704,"array.attribute":["many",2],)"
                R"("map.attribute":{"some.map.key":"some value"},"bytes":"AAE=","none":null,"attributes.body":"theirs",)"
                R"("resource.service.name":"my.service","scope.name":"my.library","scope.version":"1.0.0","scope.x":1})"});
        CHECK(otlp(otlp_body("{}")) == records{"{}"});
        CHECK(otlp(otlp_body(R"({"droppedAttributesCount":2,"eventName":"sold"})")) ==
              records{R"({"event_name":"sold","dropped_attributes_count":2})"});
        CHECK(otlp(otlp_body("{}", R"("attributes":[{"key":"a","value":{"intValue":1}}])")) ==
              records{R"({"resource.a":1})"});
        CHECK(otlp(otlp_body(R"({"timeUnixNano":"0","body":null,"attributes":null})")) ==
              records{"{}"});
        CHECK(otlp(otlp_body(R"({"body":{"kvlistValue":{"values":[{"key":"a"}]}}})")) ==
              records{R"({"body":{"a":null}})"});
        CHECK(otlp(R"({"resourceLogs":[]})").empty());
        CHECK(otlp("{}").empty());
    }

    TEST_CASE("what protobuf's JSON may say otherwise is no reason to refuse a batch of records") {
        const auto value = [](std::string_view of) {
            return otlp(
                otlp_body(fmt::format(R"({{"attributes":[{{"key":"a","value":{}}}]}})", of)));
        };
        CHECK(value(R"({"stringValue":null})") == records{R"({"a":null})"});
        CHECK(value(R"({"stringValue":null,"intValue":"7"})") == records{R"({"a":7})"});
        CHECK(value(R"({"arrayValue":null})") == records{R"({"a":null})"});
        CHECK(value(R"({"intValue":5.0})") == records{R"({"a":5})"});
        CHECK(value(R"({"intValue":-5e2})") == records{R"({"a":-500})"});
        CHECK(value(R"({"intValue":5.5})")[0].starts_with("400 "));
        CHECK(value(R"({"intValue":1e19})")[0].starts_with("400 "));
        // fixed64 has room for more than a date of ours
        CHECK(otlp(otlp_body(R"({"timeUnixNano":"9223372036854775808"})")) == records{"{}"});
        CHECK(otlp(otlp_body(R"({"timeUnixNano":18446744073709551615})")) == records{"{}"});
        CHECK(otlp(otlp_body(R"({"timeUnixNano":"18446744073709551616"})"))[0].starts_with("400 "));
        CHECK(otlp(otlp_body(R"({"timeUnixNano":1.5})"))[0].starts_with("400 "));
    }

    TEST_CASE("severities of OpenTelemetry's are levels") {
        const auto importance = [](std::string_view record) {
            return importance_of(
                [](std::string_view text, decoded_body& to) {
                    std::string reply;
                    decode_otlp(text, to, reply);
                },
                otlp_body(record));
        };
        CHECK(importance(R"({"severityNumber":1})") == level::trace);
        CHECK(importance(R"({"severityNumber":8})") == level::debug);
        CHECK(importance(R"({"severityNumber":9})") == level::info);
        CHECK(importance(R"({"severityNumber":13})") == level::warning);
        CHECK(importance(R"({"severityNumber":20})") == level::error);
        CHECK(importance(R"({"severityNumber":24})") == level::critical);
        CHECK(importance(R"({"severityNumber":99999})") == level::critical);
        CHECK(importance(R"({"severityNumber":0,"severityText":"WARN"})") == level::warning);
        CHECK(importance("{}") == level::info);
    }

    TEST_CASE("what are no logs of OpenTelemetry's have none taken, and are told which") {
        CHECK(otlp(otlp_body(R"({"timeUnixNano":"x"})")) ==
              records{"400 log record 1: its time is not nanoseconds since 1970"});
        CHECK(otlp(otlp_body(R"({"body":"text"},{"attributes":1})")) ==
              records{"400 log record 1: its body is not a value"});
        CHECK(otlp(otlp_body(R"({"attributes":[{"value":{}}]})"))[0].starts_with(
            "400 log record 1: its attributes"));
        CHECK(otlp(otlp_body(R"({"attributes":{}})"))[0].starts_with("400 log record 1"));
        CHECK(otlp(otlp_body("1"))[0] == "400 logRecords has something that is not an object");
        CHECK(otlp(R"({"resourceLogs":{}})") == records{"400 resourceLogs is not an array"});
        CHECK(otlp(otlp_body("{}", R"("attributes":[1])"))[0].starts_with(
            "400 the attributes of a resource"));
        // However many are well.
        CHECK(otlp(otlp_body(R"({},{"attributes":1},1)"))[0] ==
              "400 logRecords has something that is not an object");
    }

    TEST_CASE("a log record of OpenTelemetry's that is wrong is refused by itself, and counted") {
        const std::string well = R"({"body":{"stringValue":"a"}})";
        const std::string kept = R"({"message":"a"})";
        CHECK(otlp(otlp_body(well + R"(,{"timeUnixNano":"x"},)" + well)) ==
              records{kept, kept,
                      R"({"partialSuccess":{"rejectedLogRecords":"1","errorMessage":)"
                      R"("log record 2: its time is not nanoseconds since 1970"}})"});
        CHECK(otlp(otlp_body(R"({"body":{"stringValue":"b"},"attributes":[1]},{"body":1},)" + well +
                             R"(,{"body":1})")) ==
              records{kept, R"({"partialSuccess":{"rejectedLogRecords":"3","errorMessage":)"
                            R"("log record 1: its attributes are not keys and values; so much for )"
                            R"(the first of 3"}})"});
        const std::string longer = R"({"body":{"stringValue":")" + std::string(60, 'x') + "\"}}";
        const std::string many = R"({"body":{"stringValue":")" + std::string(40, 'x') +
                                 R"("},"attributes":[{"key":"k","value":{"stringValue":"v"}}]})";
        const body_limits limits{.json = {.record_bytes_max = 50}};
        for (const std::string& each : {longer, many}) {
            CHECK(otlp(otlp_body(each + "," + well), limits) ==
                  records{kept, R"({"partialSuccess":{"rejectedLogRecords":"1","errorMessage":)"
                                R"("log record 1: it is longer than 50 bytes"}})"});
            CHECK(otlp(otlp_body(each), limits) ==
                  records{"413 log record 1: it is longer than 50 bytes"});
        }
        // Where that is what all have in common, it is not copied for each.
        decoded_body body(limits);
        std::string reply;
        const std::string common = R"("attributes":[{"key":"a","value":{"stringValue":")" +
                                   std::string(10'000, 'x') + R"("}}])";
        decode_otlp(otlp_body("{},{},{}", common), body, reply);
        CHECK(records_of(body) == records{"413 log record 1: it is longer than 50 bytes"});
        CHECK(body.making().capacity() < 10'000);
        CHECK(reply == "");
        // What makes the body too much is no record's fault.
        CHECK(otlp(otlp_body(R"({"body":1},{},{},{})"), {.json = {.records_max = 2}}) ==
              records{"413 the body has more than 2 records"});
    }

    TEST_CASE("an event of Splunk's is a record as it was sent") {
        CHECK(splunk(R"({"time":1426279439,"host":"web","event":"Hello"} )"
                     "\r\n"
                     R"({"time":"1426279439.5","event":{"a":[1]},"fields":{"x":"y","l":["1"]}})"
                     R"({"event":0})") ==
              records{R"({"time":1426279439,"host":"web","event":"Hello"})",
                      R"({"time":"1426279439.5","event":{"a":[1]},"fields":{"x":"y","l":["1"]}})",
                      R"({"event":0})"});
        CHECK(importance_of(decode_splunk_events, R"({"event":{"level":"error"}})") ==
              level::error);
        CHECK(importance_of(decode_splunk_events,
                            R"({"event":"x","fields":{"severity":"warning"}})") == level::warning);
    }

    TEST_CASE("what is wrong with events is told in Splunk's words") {
        CHECK(splunk(" \n") == records{"400 No data"});
        CHECK(splunk(R"({"event":1}{"evnt":"x"})") ==
              records{"400 Event field is required: event 2"});
        CHECK(splunk(R"({"event":""})") == records{"400 Event field cannot be blank: event 1"});
        CHECK(splunk(R"({"event":null})") == records{"400 Event field cannot be blank: event 1"});
        CHECK(splunk(R"({"event":"x","fields":{"a":{}}})") ==
              records{"400 Error in handling indexed fields: event 1"});
        CHECK(splunk(R"({"event":"x","time":"soon"})") ==
              records{"400 Invalid data format: event 1"});
        CHECK(splunk(R"({"event":"x"},{"event":"y"})")[0].starts_with(
            "400 Invalid data format: event 2: "));
        CHECK(splunk("plain text")[0].starts_with("400 Invalid data format: event 1: "));
    }

    TEST_CASE("raw lines are records, of any bytes, with what the query says") {
        decoded_body body;
        decode_splunk_raw("one\r\n\ntwo \xff\"\nthree",
                          "channel=x&host=web%201&source=a+b&time=1.5", body);
        const std::string more = R"(,"time":"1.5","host":"web 1","source":"a b"})";
        CHECK(records_of(body) == records{R"({"message":"one")" + more,
                                          R"({"message_escaped":"two \\xff\"")" + more,
                                          R"({"message":"three")" + more});
        body.clear();
        decode_splunk_raw("\n\r\n", "", body);
        CHECK(records_of(body) == records{"400 No data"});
    }

    TEST_CASE("text that is too long for a record is refused before it is made longer") {
        const std::string text(100, 'x');
        const body_limits limits{.json = {.record_bytes_max = 99}};
        const auto made_of = [&](auto decode) {
            decoded_body body(limits);
            decode(body);
            const records found = records_of(body);
            REQUIRE(found.size() == 1);
            CHECK(found[0].starts_with("413 "));
            CHECK(found[0].ends_with("record 1: it is longer than 99 bytes"));
            return body.making();
        };
        CHECK(made_of([&](auto& to) { decode_splunk_raw(text, "", to); }) == "");
        const std::string push =
            R"({"streams":[{"stream":{},"values":[["0",")" + text + R"("]]}]})";
        CHECK(made_of([&](auto& to) { decode_loki(push, to); }) == "");
        const std::string logs =
            R"({"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":")" + text +
            R"("}}]}]}]})";
        CHECK(made_of([&](auto& to) {
                  std::string reply;
                  decode_otlp(logs, to, reply);
              }) == "");
    }

    TEST_CASE("documents are records as they were sent, and each has its status") {
        const auto got = bulk("{\"index\":{\"_index\":\"logs\",\"_id\":\"1\"}}\n"
                              "{ \"@timestamp\" : 1, \"message\":\"a\"}\n"
                              "{\"create\":{}}\r\n{\"message\":\"b\"}\r\n");
        CHECK(got.found == records{R"({ "@timestamp" : 1, "message":"a"})", R"({"message":"b"})"});
        CHECK(
            got.reply ==
            R"({"took":0,"errors":false,"items":[)"
            R"({"index":{"_index":"logs","_id":"1","_version":1,"result":"created","status":201}},)"
            R"({"create":{"_index":"app","_version":1,"result":"created","status":201}}]})");
    }

    TEST_CASE("a document that is wrong is refused by itself") {
        const auto got =
            bulk("{\"index\":{}}\n{\"a\":\n{\"index\":{}}\n{\"b\":1}\n"
                 "{\"delete\":{\"_id\":\"x\"}}\n{\"update\":{\"_id\":\"x\"}}\n{\"doc\":{}}\n"
                 "{\"create\":{}}\n[1]\n");
        CHECK(got.found == records{R"({"b":1})"});
        CHECK(got.reply.starts_with(
            R"({"took":0,"errors":true,"items":[{"index":{"_index":"app","status":400,"error":{"type":"document_parsing_exception","reason":")"));
        CHECK(got.reply.find(
                  R"({"index":{"_index":"app","_version":1,"result":"created","status":201}})") !=
              got.reply.npos);
        CHECK(got.reply.find(R"({"delete":{"_index":"app","_id":"x","status":400,)") !=
              got.reply.npos);
        CHECK(got.reply.find(R"({"update":{"_index":"app","_id":"x","status":400,)") !=
              got.reply.npos);
        CHECK(got.reply.find("the body is not an object") != got.reply.npos);
        const auto longer = bulk("{\"index\":{}}\n{\"a\":\"" + std::string(100, 'x') + "\"}\n" +
                                     "{\"index\":{}}\n{\"b\":1}\n",
                                 {.json = {.record_bytes_max = 50}});
        CHECK(longer.found == records{R"({"b":1})"});
    }

    TEST_CASE("where it is in doubt what a line is, nothing of the body is taken") {
        const std::string good = "{\"index\":{}}\n{\"b\":1}\n";
        const auto wrong = [&](std::string_view rest) {
            return bulk(good + std::string(rest)).found[0];
        };
        CHECK(wrong("{\"b\":1}\n") ==
              "400 line 3: it is no action: index or create, in an object by itself");
        CHECK(wrong("\n{\"index\":1}\n").starts_with("400 line 4: "));
        CHECK(wrong("{\"index\":{},\"create\":{}}\n").starts_with("400 line 3: "));
        CHECK(wrong("{\"index\":{\"_index\":\"" + std::string(256, 'x') + "\"}}\n{}\n")
                  .starts_with("400 line 3: "));
        CHECK(wrong("{\"index\":{}}\n") == "400 line 3: the document that is to follow is missing");
        CHECK(wrong("{\"index\":{}}\n{\"c\":1}") ==
              "400 the body must end with a newline: it may have been cut");
        CHECK(bulk("").found[0] == "400 the body is empty");
        CHECK(bulk(good + good + good, {.json = {.records_max = 2}}).found[0].starts_with("413 "));
        CHECK(bulk(good + "{\"delete\":{}}\n{\"delete\":{}}\n", {.json = {.records_max = 2}})
                  .found[0]
                  .starts_with("413 "));
    }

    TEST_CASE("hostile strings in every place are one record each, and show what they are") {
        for (const std::string& hostile : sapwood::test::hostile_strings()) {
            if (hostile.size() > 500) {
                continue; // an _id has no more
            }
            CAPTURE(hostile);
            std::string text;
            append_json_text(sapwood::collector::is_printable(hostile) ? hostile : "\n\x1b]", text);
            const records made[] = {
                loki(fmt::format(
                    R"({{"streams":[{{"stream":{{{0}:{0}}},"values":[["1",{0},{{{0}:{0}}}]]}}]}})",
                    text)),
                otlp(otlp_body(fmt::format(
                    R"({{"body":{{"stringValue":{0}}},"severityText":{0},"traceId":{0},"attributes":[{{"key":{0},"value":{{"stringValue":{0}}}}}]}})",
                    text))),
                splunk(fmt::format(R"({{"event":{{{0}:{0}}},"fields":{{{0}:{0}}}}})", text)),
                bulk(fmt::format("{{\"index\":{{\"_id\":{0}}}}}\n{{{0}:{0}}}\n", text)).found};
            for (const records& each : made) {
                CHECK(each.size() == 1);
                CHECK(each.front().starts_with('{'));
                CHECK(each.front().find('\n') == std::string::npos);
            }
            decoded_body raw;
            decode_splunk_raw(hostile, "host=" + hostile, raw);
            CHECK(raw.is_well() == (hostile.find_first_not_of("\r\n") != hostile.npos));
            for (const std::string& each : records_of(raw)) {
                CHECK(each.find('\n') == std::string::npos);
            }
        }
    }
}
