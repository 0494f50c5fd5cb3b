import WireProtocol

/// The numbers that describe a transformer encoder of the BERT family.
struct TransformerShape: Sendable, Hashable {
    /// How tokens learn where they stand.
    enum Positions: Sendable, Hashable {
        /// A learnt row for each position.
        case table
        /// Queries and keys turn by an angle that grows with the position; `base` is the slowest pair's period, roughly.
        case rotary(base: Double)
    }

    /// Width of a token's vector between layers.
    var width: Int
    /// Layers.
    var layers: Int
    /// Attention heads of a layer.
    var heads: Int
    /// Width inside the feed-forward part.
    var innerWidth: Int
    /// Rows of the token table.
    var tokens: Int
    /// Tokens of a text at most, with those around it.
    var positions: Int
    /// How positions enter.
    var positionKind: Positions
    /// Added to variances by layer normalisation.
    var epsilon: Float

    /// Columns of a head.
    var headWidth: Int { width / heads }

    /// `config.json` of a model whose `model_type` is `bert`.
    static func bert(_ file: inout ConfigurationFile) throws(ModelError) -> TransformerShape {
        try file.require("model_type", .string("bert"))
        try file.require("hidden_act", .string("gelu"))
        try file.require("position_embedding_type", .string("absolute"))
        let shape = TransformerShape(
            width: try file.integer("hidden_size", in: 1...65_535),
            layers: try file.integer("num_hidden_layers", in: 1...1_000),
            heads: try file.integer("num_attention_heads", in: 1...1_000),
            innerWidth: try file.integer("intermediate_size", in: 1...1_000_000),
            tokens: try file.integer("vocab_size", in: 1...10_000_000),
            positions: try file.integer("max_position_embeddings", in: 3...1_000_000),
            positionKind: .table,
            epsilon: Float(try file.number("layer_norm_eps", default: 1e-12))
        )
        file.ignore([
            "hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout", "gradient_checkpointing",
            "pad_token_id", "bos_token_id", "eos_token_id", "type_vocab_size", "directionality", "pooler_fc_size",
            "pooler_num_attention_heads", "pooler_num_fc_layers", "pooler_size_per_head", "pooler_type",
        ])
        try shape.check(&file)
        return shape
    }

    /// `config.json` of a model whose `model_type` is `nomic_bert`.
    static func nomic(_ file: inout ConfigurationFile) throws(ModelError) -> TransformerShape {
        try file.require("model_type", .string("nomic_bert"))
        try file.require("activation_function", .string("swiglu"))
        // Missing members would mean what this build does not run.
        for key in ["qkv_proj_bias", "mlp_fc1_bias", "mlp_fc2_bias"] {
            guard file.value(key) == .bool(false) else {
                throw .unsupported(path: file.path, reason: "\"\(key)\" is not false")
            }
        }
        for key in ["prenorm", "parallel_block", "parallel_block_tied_norm", "causal", "use_rms_norm"] {
            try file.require(key, .bool(false))
        }
        for key in ["rotary_emb_interleaved", "scale_attn_by_inverse_layer_idx"] {
            try file.require(key, .bool(false))
        }
        try file.require("scale_attn_weights", .bool(true))
        guard try file.number("rotary_emb_fraction", default: 0) == 1 else {
            throw .unsupported(path: file.path, reason: "\"rotary_emb_fraction\" is not 1")
        }
        let shape = TransformerShape(
            width: try file.integer("n_embd", in: 1...65_535),
            layers: try file.integer("n_layer", in: 1...1_000),
            heads: try file.integer("n_head", in: 1...1_000),
            innerWidth: try file.integer("n_inner", in: 1...1_000_000),
            tokens: try file.integer("vocab_size", in: 1...10_000_000),
            positions: try file.integer("n_positions", in: 3...1_000_000),
            positionKind: .rotary(base: try file.number("rotary_emb_base", default: 10_000)),
            epsilon: Float(try file.number("layer_norm_epsilon", default: 1e-12))
        )
        file.ignore([
            "attn_pdrop", "embd_pdrop", "resid_pdrop", "bos_token_id", "eos_token_id", "dense_seq_output",
            "fused_bias_fc", "fused_dropout_add_ln", "max_trained_positions", "pad_vocab_size_multiple",
            "reorder_and_upcast_attn", "summary_activation", "summary_first_dropout", "summary_proj_to_labels",
            "summary_type", "summary_use_proj", "type_vocab_size", "use_flash_attn", "use_xentropy", "pad_token_id",
        ])
        try shape.check(&file)
        return shape
    }

    private func check(_ file: inout ConfigurationFile) throws(ModelError) {
        file.ignore([
            "_name_or_path", "architectures", "auto_map", "initializer_range", "torch_dtype", "dtype",
            "transformers_version", "use_cache", "id2label", "label2id", "tie_word_embeddings", "output_past",
            "is_matryoshka", "matryoshka_dimensions", "_attn_implementation_autoset", "attn_implementation",
            "cls_token_id", "sep_token_id", "eos_token_id", "mask_token_id", "unk_token_id",
        ])
        try file.finish()
        guard width % heads == 0 else {
            throw .malformed(path: file.path, reason: "a width of \(width) does not divide among \(heads) heads")
        }
        if case .rotary = positionKind, headWidth % 2 != 0 {
            throw .malformed(path: file.path, reason: "rotary positions need heads of an even width, not \(headWidth)")
        }
    }
}
