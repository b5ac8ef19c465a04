#!/usr/bin/env bash
# From folders of recordings to the weights in the package: encoders, phone judge, aggregation, enhancer. Resumable.
#   runs/default/build.sh DATA OUT [manifests | encoder NAME | judge | enhancer NAME | recognition | recordings | compare | losses | choose CANDIDATES | articulation | ship NAME | card NAME | all]
# DATA holds librispeech/, esc10/, speech.csv as runs/real.sh describes, and speech_commands_noise/.
# STEPS (default 5500) scales the training of the encoders, ENHANCER_STEPS (default 5000) the enhancers': an hour and a half of one
# core each. What was run for the weights in the package stands in their README.md.
# The encoder `mini` learns from a Whisper and the enhancer `whisper-tiny` is guided by it: TEACHER, a hub id or a folder
# (default openai/whisper-tiny.en).
set -euo pipefail
usage="usage: runs/default/build.sh DATA OUT [manifests | encoder NAME | judge | enhancer NAME | recognition | recordings | compare | losses | choose CANDIDATES | articulation | ship NAME | card NAME | all]"
data=${1:?$usage}
out=${2:?$usage}
what=${3:-all}
here=$(cd "$(dirname "$0")/../.." && pwd)
phonemi=${PHONEMI:-$here/.venv/bin/phonemi}
python=${PYTHON:-$here/.venv/bin/python}
steps=${STEPS:-5500}
teacher=${TEACHER:-openai/whisper-tiny.en}
row=ws-linguistic+log1p+complex # what ships
# Speakers of speechocean762 who were recorded in noise: no part of the training hears them, `recordings` judges on them.
aside="2236|2170|2061|2059|2282|0005|2244|0048|3021|0075"
mkdir -p "$out"

prepared() { # FILE ARGUMENTS...: a manifest, made once
    local file=$1
    shift
    [ -f "$file" ] || "$phonemi" prepare "$@" -o "$file"
}

manifests() {
    local alignments=()
    for ctm in "$data"/*/alignments/*.ctm; do
        alignments+=(--alignments "$ctm")
    done
    prepared "$out/speech.jsonl" librispeech "$data/librispeech/LibriSpeech" \
        --alignments "$data/librispeech/alignments/phones.ctm"
    local all=(folder "$data" --table "$data/speech.csv" "${alignments[@]}") others=()
    for speaker in ${aside//|/ }; do
        others+=(--where "speaker!=so-$speaker")
    done
    prepared "$out/aligned.jsonl" "${all[@]}" --where "phones==y" "${others[@]}"
    prepared "$out/all.jsonl" "${all[@]}" "${others[@]}"
    # Clean enough to be what an enhancer should give, and of a known speaker.
    prepared "$out/clean.jsonl" "${all[@]}" --where "dnsmos_bak>=3.5" --where "speaker!=" "${others[@]}"
    prepared "$out/in_noise.jsonl" "${all[@]}" --where "dnsmos_bak<3"
    grep -E "\"speaker\": \"so-($aside)\"" "$out/in_noise.jsonl" >"$out/recordings.jsonl"
    prepared "$out/noise.jsonl" esc50 "$data/esc10"
    prepared "$out/background.jsonl" folder "$data/speech_commands_noise" --fold 1
    prepared "$out/made-noise.jsonl" procedural-noise "$out/made-noise" --clips 20
    # For its noise; the quickstart measures the encoder on synthetic voices, which it must not have heard in training.
    prepared "$out/synthetic.jsonl" synthetic "$out/synthetic" --utterances 12
}

decoded() { # what has no transcript gets its phones from a phone loop, which errs often
    [ -f "$out/decoded.jsonl" ] || "$phonemi" align --decode "$out/all.jsonl" -o "$out/decoded.jsonl"
}

lists() { # [SPEECH]: the manifests as settings, the speech of the encoder among them
    echo --set "data.speech=['$out/speech.jsonl']" \
        --set "data.encoder_speech=['$out/${1:-aligned}.jsonl']" \
        --set "data.noise=['$out/noise.jsonl','$out/background.jsonl','$out/synthetic/noise.jsonl','$out/made-noise.jsonl']"
}

encoder() { # NAME: mini, mini-kmeans; to compare: tera, which reconstructs frames, mini-phones, phone-supervised as `mini` was in version 0.1, both of these with -clean inputs, mini-decoded
    local kmeans="[{units: mel, clusters: 100, steps: $((steps * 3 / 8))}, {units: encoder, layer: 3, clusters: 200, steps: $((steps * 5 / 8))}]"
    local settings=(--set encoder.unmasked_weight=1 --set encoder.mask_start=0.05) speech=aligned
    case $1 in
    mini) # what a Whisper that hears the clean speech makes of it
        settings=(--set "encoder.rounds=[{units: teacher, teacher: '$teacher', layers: [2, 3, 4], steps: $steps}]" --set encoder.block_kernel=15)
        speech=all
        ;;
    tera) # on clean speech; twice as many frames a second, so less of a network
        settings=(--set "encoder.rounds=[{units: frames, steps: $steps, learning_rate: 0.001}]" --set "encoder.speeds=[1, 1]" \
            --set encoder.blocks=3 --set encoder.dim=192 --set encoder.feedforward=768)
        speech=all
        ;;
    mini-kmeans*) settings=(--set "encoder.rounds=$kmeans") speech=all ;;
    *) settings+=(--set "encoder.rounds=[{units: phones, steps: $steps}]") ;;
    esac
    case $1 in
    *-clean | tera) ;;
    *) settings+=(--set encoder.noisy_share=0.6) ;;
    esac
    case $1 in
    *-decoded) decoded && speech=decoded ;;
    esac
    for stage in pretrain information; do
        # shellcheck disable=SC2046
        "$phonemi" "$stage" --run "$out/$1" --config "$here/runs/default/encoder.yaml" $(lists $speech) \
            "${settings[@]}"
    done
}

judge() { # what `phonemi listen` counts the phones kept with, on the `mini` that ships
    for stage in information evaluate; do
        "$phonemi" "$stage" --run "$out/phone-judge" --config "$here/runs/default/enhancer.yaml" \
            --set "data.speech=['$out/speech.jsonl']" --set "data.noise=['$out/noise.jsonl']" --set enhance.rows=[] \
            --set information.train_utterances=320 --set evaluate.phone_bits=true --set evaluate.recogniser=none \
            --set evaluate.per_utterance=null
    done
}

enhancer() { # NAME: default, guided by the `mini` that ships; whisper-tiny, by the encoder of a Whisper
    local guide=mini
    [ "$1" != whisper-tiny ] || guide=$teacher
    for stage in aggregate train information evaluate; do
        # shellcheck disable=SC2046
        "$phonemi" "$stage" --run "$out/$1" --config "$here/runs/default/enhancer.yaml" $(lists) \
            --set "data.enhancer_speech=['$out/clean.jsonl']" --set "representation='$guide'" \
            --set "enhance.steps=${ENHANCER_STEPS:-5000}"
    done
    "$phonemi" report "$out/$1"
}

recognition() { # beside the network of `default` one for recognisers, which begins there and leaves some of the noise; the validation loss chooses
    local start=$out/default/rows/$row/model part=1 drawn
    for drawn in "6000 2 1500" "3000 4 700"; do # mixtures, seconds, updates
        read -r mixtures seconds updates <<<"$drawn"
        # shellcheck disable=SC2046
        "$phonemi" train --run "$out/recognition-$part" --config "$here/runs/default/enhancer.yaml" $(lists) \
            --set "data.enhancer_speech=['$out/clean.jsonl']" --set "enhance.start='$start'" --set enhance.purpose=recognition \
            --set enhance.kept_noise_db=14 --set enhance.draw=$((part + 1)) --set enhance.learning_rate=0.0003 \
            --set "enhance.train_mixtures=$mixtures" --set "enhance.crop_s=$seconds" --set "enhance.steps=$updates" \
            --set "enhance.validate_every=$((updates / 2))" --set enhance.select_on=loss
        start=$out/recognition-$part/rows/$row/model
        part=$((part + 1))
    done
}

run_of() { # NAME: the run whose model ships under that name
    [ "$1" = default ] && echo "$out/recognition-2" || echo "$out/$1"
}

recordings() { # the same enhancers on recordings of speakers in real noise, of which nobody has the clean speech
    local models=() name model
    for name in default whisper-tiny; do
        model=$(run_of "$name")/rows/$row/model
        models+=("$name: '$model'" "$name-recognition: '$model --for recognition'")
    done
    "$phonemi" evaluate --run "$out/recordings" --set data.speech=[] --set enhance.rows=[] \
        --set "evaluate.recordings='$out/recordings.jsonl'" --set evaluate.recogniser=whisper --set "evaluate.whisper=${WHISPER:-tiny.en}" \
        --set "evaluate.systems={$(IFS=, && echo "${models[*]}")}"
    "$phonemi" report "$out/recordings"
}

few() { # RUN ROWS SETTINGS...: three models of each row, trained for a short time. An update costs all rows the same where a CPU has no bf16
    # products, a second a core; the loss is that of each network alone, since a weight of SI-SDR means something else in each
    local run=$out/$1 rows=$2
    shift 2
    for stage in aggregate train information evaluate; do
        # shellcheck disable=SC2046
        "$phonemi" "$stage" --run "$run" --config "$here/runs/default/enhancer.yaml" $(lists) \
            --set "data.enhancer_speech=['$out/clean.jsonl']" --set "aggregate.aggregations=[ws, dws]" --set "enhance.rows=[$rows]" \
            --set enhance.seeds=3 --set enhance.hidden=352 --set enhance.layers=2 --set enhance.si_sdr_weight=0 --set enhance.crop_s=2 \
            --set enhance.train_mixtures=3000 --set enhance.steps=400 --set enhance.validate_every=200 --set evaluate.utterances=42 \
            --set information.hidden=256 --set information.epochs=2 --set information.batch_frames=1024 \
            --set evaluate.phone_bits=true --set "evaluate.whisper=${WHISPER:-tiny.en}" "$@"
    done
    "$phonemi" report "$run"
}

compare() { # what guides best, and which network uses it
    few compare "ws-linguistic+log1p, log1p+complex, ws-acoustic+log1p+complex, $row, dws-linguistic+log1p+complex" \
        --set "evaluate.endpoint={row: $row, against: log1p+complex, metric: wer}"
}

choose() { # CANDIDATES, a map for evaluate.systems: by Whisper's words, on the speakers and noises of validation at every SNR
    # shellcheck disable=SC2046
    "$phonemi" evaluate --run "$out/choose" --config "$here/runs/default/enhancer.yaml" $(lists) --set enhance.rows=[] \
        --set evaluate.split=validation --set evaluate.per_utterance=null --set "evaluate.systems=$1" --set "evaluate.whisper=${WHISPER:-tiny.en}"
}

losses() { # whether a target that keeps noise, or artefacts that weigh more, keep more words
    few kept-noise "$row" --set enhance.kept_noise_db=14
    few artefacts "$row" --set enhance.si_sdr_weight=0.004 --set enhance.artefact_weight=3
}

articulation() { # enhancer and inverter on the `mini` that ships: speech of a model of the vocal tract, whose tongue is known, beside three readers
    prepared "$out/vocal-tract.jsonl" articulatory-synthesis "$out/vocal-tract" --utterances "${UTTERANCES:-800}"
    grep -E '"speaker": "ls-(19|26|27)"' "$out/speech.jsonl" >"$out/readers.jsonl"
    for stage in aggregate train information evaluate; do
        "$phonemi" "$stage" --run "$out/articulation" --config inversion-mini --set representation=mini \
            --set "data.speech=['$out/vocal-tract.jsonl']" --set "data.enhancer_speech=['$out/readers.jsonl']" \
            --set "data.noise=['$out/noise.jsonl']" --set data.babble_share=0.5 --set "aggregate.aggregations=[ws]" \
            --set "enhance.rows=[joint]" --set enhance.train_mixtures=3000 --set "enhance.steps=${ENHANCER_STEPS:-3000}" \
            --set enhance.crop_s=2.0 --set enhance.jobs=1 --set evaluate.utterances=null --set evaluate.endpoint=null --set evaluate.recogniser=none
    done
    "$phonemi" report "$out/articulation"
}

ship() { # NAME, with the scores of `card NAME` where they are there
    local options=(--row "$row")
    if [ "$1" = whisper-tiny ]; then
        [ "$(basename "$teacher")" = whisper-tiny.en ] || { echo "whisper-tiny is guided by whisper-tiny.en, not $teacher" >&2 && exit 2; }
        options+=(--hub openai/whisper-tiny.en@87c7102498dcde7456f24cfd30239ca606ed9063)
    fi
    [ "$1" != articulation ] || options=(--row joint)
    [ ! -f "$out/card-$1/metrics.json" ] || options+=(--metrics "$out/card-$1/metrics.json")
    "$python" "$here/runs/default/ship.py" "$(run_of "$1")" "$here/src/phonemi/weights/$1" "${options[@]}"
}

card() { # NAME: the scores for the card of an enhancer, its words by a Whisper (WHISPER, default tiny.en, which is the guide of whisper-tiny too)
    local model
    model=$(run_of "$1")/rows/$row/model
    for stage in information evaluate; do
        "$phonemi" "$stage" --run "$out/card-$1" --config "$here/runs/default/enhancer.yaml" \
            --set "data.speech=['$out/speech.jsonl']" --set "data.noise=['$out/noise.jsonl']" \
            --set data.babble_share=0 --set enhance.rows=[] \
            --set "evaluate.systems={$1: '$model', $1-recognition: '$model --for recognition'}" \
            --set evaluate.per_utterance=2 --set evaluate.recogniser=whisper \
            --set "evaluate.whisper=${WHISPER:-tiny.en}" --set evaluate.phone_bits=true --set evaluate.dnsmos=true \
            --set information.train_utterances=160 --set information.test_utterances=20
    done
}

case $what in
manifests) manifests ;;
encoder) encoder "${4:?which encoder?}" ;;
judge) judge ;;
enhancer) enhancer "${4:?which enhancer?}" ;;
recognition) recognition ;;
recordings) recordings ;;
compare) compare ;;
choose) choose "${4:?which models?}" ;;
losses) losses ;;
ship) ship "${4:?which model?}" ;;
card) card "${4:?which enhancer?}" ;;
articulation) articulation ;;
all)
    manifests
    for name in mini mini-kmeans mini-phones mini-phones-clean mini-kmeans-clean mini-decoded; do encoder "$name"; done
    ship mini
    ship mini-kmeans
    judge
    ship phone-judge
    compare
    losses
    for name in default whisper-tiny; do enhancer "$name"; done
    recognition
    recordings
    articulation
    ship articulation
    for name in default whisper-tiny; do
        card "$name"
        ship "$name"
    done
    ;;
*) echo "unknown step $what" >&2 && exit 2 ;;
esac
